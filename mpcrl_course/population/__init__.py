"""Populations of exchangeable agents: counts, joint tables, exact control by samples of k, and its exact value."""

from mpcrl_course.population import faulty
from mpcrl_course.population.config import Config, ConfigError, parse_config, read_config, shipped
from mpcrl_course.population.counts import (
    all_counts,
    all_tables,
    number,
    number_of_tables,
    rank,
    table_rank,
    table_unrank,
    unrank,
)
from mpcrl_course.population.execute import deployed, deployed_value
from mpcrl_course.population.files import load_plans, save_plans
from mpcrl_course.population.laws import expectations, hypergeometric, multinomial, next_law, sampled_expectations
from mpcrl_course.population.model import Population, from_functions
from mpcrl_course.population.models import formation, rendezvous, tie
from mpcrl_course.population.policy import SampledPolicy, own_policy, sampled_policy
from mpcrl_course.population.simulate import Flock, simulate
from mpcrl_course.population.solve import Planned, optimal_value, plan, plans, sampled_value_iteration, start_value

__all__ = [
    "Config",
    "ConfigError",
    "Flock",
    "Planned",
    "Population",
    "SampledPolicy",
    "all_counts",
    "all_tables",
    "deployed",
    "deployed_value",
    "expectations",
    "faulty",
    "formation",
    "from_functions",
    "hypergeometric",
    "load_plans",
    "multinomial",
    "next_law",
    "number",
    "number_of_tables",
    "optimal_value",
    "own_policy",
    "parse_config",
    "plan",
    "plans",
    "rank",
    "read_config",
    "rendezvous",
    "sampled_expectations",
    "sampled_policy",
    "sampled_value_iteration",
    "save_plans",
    "shipped",
    "simulate",
    "start_value",
    "table_rank",
    "table_unrank",
    "tie",
    "unrank",
]
