"""Plans saved and loaded, with their configuration; a damaged file is named."""

import numpy as np
import pytest

from mpcrl_course.population import (
    deployed,
    load_plans,
    plans,
    read_config,
    rendezvous,
    sampled_policy,
    save_plans,
    tie,
)


def test_loaded_plans_are_those_saved(tmp_path):
    config = read_config("rendezvous")
    found = plans(config.model, [2, 4])
    save_plans(tmp_path / "plans.npz", found, config)
    loaded, again = load_plans(tmp_path / "plans.npz")
    assert [one.k for one in loaded] == [2, 4] and again.text == config.text and again.n == 14
    for one, other in zip(found, loaded):
        assert all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("V", "a_g", "T"))
        assert (one.residual, one.sweeps, one.choices) == (other.residual, other.sweeps, other.choices)
        assert deployed(sampled_policy(one), 6) == deployed(sampled_policy(other), 6)
        assert one.start_value() == other.start_value()


def test_a_model_without_a_configuration(tmp_path):
    save_plans(tmp_path / "plans.npz", plans(tie(), [1]))
    (one,), config = load_plans(tmp_path / "plans.npz")
    assert config is None and one.model.name == "a tie" and one.model.gamma == 0.9


@pytest.mark.parametrize("harm", ["cut", "shape", "missing", "text"])
def test_a_damaged_file_is_named(tmp_path, harm):
    path = tmp_path / "plans.npz"
    save_plans(path, plans(tie(), [2]))
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:300])
    elif harm == "text":
        path.write_text("no archive", encoding="utf-8")
    else:
        arrays = dict(np.load(path))
        arrays["T_2"] = arrays["T_2"][:1]
        if harm == "missing":
            del arrays["P_l"]
        np.savez(path, **arrays)
    with pytest.raises(ValueError, match="plans.npz holds no plans"):
        load_plans(path)


def test_plans_of_two_models_are_refused(tmp_path):
    with pytest.raises(ValueError, match="one model"):
        save_plans(tmp_path / "x.npz", [*plans(tie(), [1]), *plans(rendezvous(), [1])])
    with pytest.raises(FileNotFoundError):
        load_plans(tmp_path / "absent.npz")
