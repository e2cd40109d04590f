"""Exercise 07: its references, and what a student may write."""

from types import SimpleNamespace

import numpy as np
import pytest

from mpcrl_course.checks import ex07
from mpcrl_course.checks.engine import NOT_ATTEMPTED, RAISED, RIGHT, WRONG
from mpcrl_course.envs.home import NOMINAL, Noise
from mpcrl_course.learners import policy_gradient, terminal_value, through_time
from tests.notebooks import texts

NAME = "07_aligned_vs_closed_loop"

# ------------------------------------------------------------------------------ the references, against the package


def test_the_predicted_balance_is_that_of_the_house():
    x, asked = np.array([[20.0, 20.0, ex07.HELD, 0.0, 101.0]]), np.array([[ex07.PUMP, -ex07.WANTED]])
    flows, now = NOMINAL.flows(x, asked, Noise(np.zeros(1))), NOMINAL.now(x)
    assert flows.discharged == pytest.approx(0.38)  # kWh: 95 % of 0.4
    more = ex07.DT * (ex07.LOAD - ex07.PV - now.load + now.pv)  # this house's plugs and roof for those of the item
    bought = flows.bought - flows.sold + more
    assert ex07.predict.reference == pytest.approx(ex07.PRICE * bought.item())
    assert (ex07.EFFICIENCY, ex07.SELL) == pytest.approx((NOMINAL.efficiency, 100 * NOMINAL.sell))


@pytest.mark.parametrize("terminated", [False, True])
def test_the_td_step_is_that_of_the_package(terminated):
    call = ex07._some_transition(np.random.default_rng(0), 3, terminated)
    theta, phi, f, s, a, cost, s_next, _, gamma, alpha = call
    expected = terminal_value.td_step(theta, phi(s), phi(s_next) * (not terminated), cost, gamma, alpha)
    for own, package in zip(ex07.td_update(*call), expected):
        np.testing.assert_allclose(own, package, rtol=1e-12)


def test_the_policy_gradient_is_a_difference_quotient():
    theta, s, a, pi, critic, alpha, largest, low, high = ex07._some_rollout(np.random.default_rng(1), 5, 2, True)
    H, G = critic._H, critic._G
    H = 0.5 * (H + H.T)  # only then is the slope that of a Q
    critic = ex07.Critic(H, G)

    def mean_cost(theta):
        u = pi(theta, s)
        return np.mean(0.5 * np.einsum("km,ml,kl->k", u, H, u) + np.einsum("km,mn,kn->k", u, G, s))

    quotients = [(mean_cost(theta + e) - mean_cost(theta - e)) / 2e-5 for e in 1e-5 * np.eye(len(theta))]
    g, new = ex07.policy_step(theta, s, a, pi, critic, alpha, largest, low - 9, high + 9)
    np.testing.assert_allclose(g, quotients, rtol=1e-6, atol=1e-9)
    assert np.linalg.norm(new - theta) == pytest.approx(alpha * min(largest, np.linalg.norm(g)))


@pytest.mark.parametrize("window", [1, 3, 4, 20])
def test_the_sweep_is_that_of_the_package(window):
    call = ex07._some_slopes(np.random.default_rng(2), 8, window)
    np.testing.assert_allclose(ex07.sweep(*call), through_time.backward_sweep(*call), rtol=1e-12)


def test_the_advantage_is_that_of_the_package():
    plan, slope, a, td, rho, _ = ex07.some_plans(np.random.default_rng(3), 12)
    w, g = ex07.advantage_gradient(plan, slope, a, td, rho)
    psi = policy_gradient.compatible(slope[:, 0], a - plan[:, 0])
    np.testing.assert_allclose(w, policy_gradient.advantage_weights(psi, td, rho), rtol=1e-10)
    batch = SimpleNamespace(s=np.zeros((12, 1)), s_next=np.zeros((12, 1)), a=a, pi=plan[:, 0], jacobian=slope[:, 0],
                            cost=td, terminated=np.ones(12))  # fmt: skip
    expected = policy_gradient.lstd_gradient(batch, 0.9, rho, features=lambda s: np.zeros((len(s), 1)))
    np.testing.assert_allclose(g, expected, rtol=1e-10)


def test_the_repaired_gradient_finds_the_advantage_and_the_given_one_does_not():
    *batch, true = ex07.some_plans(np.random.default_rng(4), 400)
    assert np.abs(ex07.advantage_gradient(*batch)[0] - true).max() < 0.05
    assert np.abs(ex07.gradient_as_given(*batch)[0] - true).max() > 0.5


# ------------------------------------------------------------------------------------------------- what is judged


@pytest.mark.parametrize(
    ("number", "verdict"), [(12.8, RIGHT), ("12,8", RIGHT), (12.75, RIGHT), (0.128, WRONG), (12, WRONG)]
)
def test_the_predicted_number(number, verdict):
    assert ex07.predict.judge(number).verdict == verdict


def test_the_given_code_is_not_attempted():
    assert ex07.debug.judge(ex07.gradient_as_given).verdict == NOT_ATTEMPTED


def test_half_of_the_repair_is_told_from_the_other():
    halves = ex07._advantage(jacobian=ex07._last), ex07._advantage(difference=ex07._no_difference)
    names = [ex07.debug.judge(answer).mistake for answer in halves]
    assert names == ["only the difference repaired", "only the stage repaired"]


def test_a_bellman_error_with_the_mean_model_is_told():
    def update(theta, phi, f, s, a, *rest):
        cost, s_next, *others = rest
        return ex07.td_update(theta, phi, f, s, a, cost, f(s, a), *others)

    assert ex07.terminal.judge(update).mistake == "mean model"


ITEMS = [ex07.terminal, ex07.step, ex07.backwards, ex07.debug]


def test_a_part_that_is_wrong_is_said():
    def shifted(*call):
        g, theta = ex07.policy_step(*call)
        return g, theta + 0.01

    result = ex07.step.judge(shifted)
    assert result.verdict == WRONG and "theta is wrong, g is right" in result.sentence


def test_each_reason_of_its_own_is_judged():
    judged = {n: ex07.explain.judge(("b", [n])) for n in ex07.explain.reasons}
    assert {n for n, result in judged.items() if result.mistake is None} == set(ex07.explain.carrying)


# --------------------------------------------------------------------------------------------------- the design


def test_what_is_right_saves_more_than_asked_by_a_margin_and_what_is_wrong_less():
    """On other weathers than those that are judged; hidden ones are not those that may be seen."""
    other = range(5000, 5030)
    assert min(ex07.saved(rule, other)["gain"] for rule in ex07.design.right_answers()) > 1.4 * ex07.GAIN
    assert max(ex07.saved(mistake.example, other)["gain"] for mistake in ex07.design.mistakes) < 0.7 * ex07.GAIN
    assert not set(ex07.SHOWN) & set(ex07.HIDDEN)


def test_the_thermostat_written_as_a_rule_saves_nothing():
    """Without its memory it switches at another temperature; its battery is the same."""
    found = ex07.saved(lambda s: (2.5 * (s.T < s.low + 0.5), s.pv - s.load - 2.5 * (s.T < s.low + 0.5)))
    assert abs(found["gain"]) < 0.6 * ex07.GAIN and abs(found["sold"]) < 0.5


def test_what_a_rule_sees_keeps_the_house_warm():
    y = NOMINAL.starts([101])
    y[0, :2] = 20.0
    power, now = ex07.seen(y).keep, NOMINAL.now(y)
    heat = NOMINAL.flows(y, np.array([[power.item(), 0.0]]), Noise(np.zeros(1)))
    A, B = NOMINAL.held
    ahead = A[0, 0] * 20 + A[0, 1] * 20 + B[0, 0] * heat.heat / ex07.DT + B[0, 1] * now.outdoor
    assert ahead == pytest.approx(20.0, abs=1e-9)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (3.0, "a function of what is seen"),
        (lambda s: s.keep, "two things"),
        (lambda s: (s.keep, np.nan), "not finite"),
        (lambda s: (s.keep, [1.0, 2.0]), "broadcast"),
    ],
    ids=["a number", "one power", "nan", "a wrong length"],
)
def test_design_of_the_wrong_form_says_so(answer, said):
    result = ex07.design.judge(answer)
    assert result.verdict == RAISED and said in result.sentence + str(result.details)


# --------------------------------------------------------------------------------------------------- the notebooks


def test_what_the_notebook_says_is_what_the_check_does():
    text = texts(NAME)
    for key, sentence in (ex07.explain.choices | ex07.explain.reasons).items():
        assert f"- **{key}** {sentence}" in text["explain-text"]
    said = text["predict-text"]
    for number in (f"{ex07.PUMP:g} kW", f"{ex07.LOAD:g} kW", f"{ex07.PV:g} kW", f"{ex07.WANTED:g} kW",
                   f"{ex07.HELD:g} kWh", f"{ex07.PRICE:g} ct", f"{ex07.SELL:g} ct"):  # fmt: skip
        assert f"**{number}**" in said
    assert ex07.predict.precision in said
    assert f"**{ex07.DAYS}** hidden" in text["design-text"] and f"**{ex07.GAIN:g} €**" in text["design-text"]
    assert f"+ {ex07.SMALL:g}}}" in text["terminal-text"]
