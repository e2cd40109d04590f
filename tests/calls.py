"""A right call of everything that the rooms export, and of the methods by which objects are asked.

`CALLS` gives for each name a function and what it is called with, by name; whoever exports something adds a line.
"""

from functools import cache

import casadi as ca
import numpy as np

from mpcrl_course import closed_loop, dp, envs, learners, mpc, network, policies, population, problems, statistics
from mpcrl_course.envs import pendulum
from mpcrl_course.envs.pendulum import NOMINAL
from mpcrl_course.learners.distributed import second_order_local
from mpcrl_course.mlp import MLP
from mpcrl_course.policies import integrated


@cache
def made(name: str):
    """Return what calls below are about; each is made once."""
    makers = {
        "mpc": lambda: problems.linear_mpc(2),
        "pendulum": lambda: problems.pendulum_mpc(horizon=3),
        "cart": lambda: problems.cartpole_mpc(horizon=3, solver="ipopt"),
        "network": lambda: problems.network_mpc(2, horizon=2),
        "central": lambda: network.Central(made("network")),
        "admm": lambda: network.ADMM(made("network"), iterations=3),
        "quadratic": lambda: problems.QuadraticMPC(horizon=2),
        "mdp": lambda: dp.FiniteMDP(np.full((2, 2, 2), 0.5), [[1.0, 0.5], [0.2, 0.7]], 0.9),
        "grid": lambda: dp.pendulum_grid(3, 3),
        "actor": lambda: learners.ActorCritic(3, [-2.0], [2.0], np.random.default_rng(0), width=4),
        "planner": lambda: MLP(3, 11, np.random.default_rng(0), width=4),
        "phi": lambda: integrated.feature_mlp(np.random.default_rng(0), width=4),
        "latent": lambda: learners.LatentModel(2, [-1.0], [1.0], rng(), n=2, K=2, width=4),
        "mppi": lambda: policies.MPPI(
            pendulum.dynamics, pendulum.stage_cost, [-2.0], [2.0], horizon=2, samples=4, n_measured=2
        ),
        "scenarios": lambda: policies.NetworkScenarios(made("network"), lambda x, d, p: x + d[0], [[0.1], [0.0]]),
        "race": lambda: problems.race_mpc(horizon=3, solver="ipopt"),
        "plan of a race": lambda: policies.first_plan(made("race"), theta("race"), np.array([3.0, 0.0, 0.0, 5.0])),
        "safety": lambda: policies.RaceSafety(),
        "crowd": lambda: population.tie(),
        "planned": lambda: population.plan(made("crowd"), 2),
        "sampled": lambda: population.sampled_policy(made("planned")),
        "file": lambda: {"nominal actor": np.array([learners.ActorCritic(3, [-2.0], [2.0], rng()).actor.theta])},
    }
    return makers[name]()


def rng():
    return np.random.default_rng(0)


def theta(name):
    return made(name).parameters.initial()


def scalar_cost(k, x, u, p):
    return ca.sumsqr(x) + ca.sumsqr(u)


S, U = np.array([0.1, 0.2]), np.array([0.1])
#: An optimal-control problem, and an agent.
OCP = {
    "n_states": 2,
    "n_inputs": 1,
    "horizon": 2,
    "parameters": mpc.Parameters(a=1.0),
    "dynamics": lambda x, u, p: p.a * x + u,
    "stage_cost": scalar_cost,
    "terminal_cost": lambda x, p: ca.sumsqr(x),
    "input_lower": -1.0,
    "input_upper": 1.0,
    "constraints": {},
    "discount": 0.9,
}
AGENT = {**OCP, "dynamics": lambda x, u, neighbours, p: p.a * x + u}
SYSTEM = {
    "A": np.eye(2) * 0.9,
    "B": np.ones((2, 1)),
    "Q": np.eye(2),
    "R": np.eye(1),
    "gamma": 0.9,
    "N": np.zeros((2, 1)),
}
PLAN = {"noise": NOMINAL.draw(0, 1, 3), "plant": NOMINAL, "starts": [[0.1, 0.2]]}


def hold(y):
    return np.zeros((len(y), 1))


def no_change(y, u):
    return u


def lqr():
    return mpc.lqr(**SYSTEM)


def learner(env=None, **options):
    return learners.QLearning(made("mpc"), env or envs.LinearPlant(), rng(), **options)


def call(function, /, **arguments):
    """Return a function, and what it is called with."""
    return function, arguments


def race():
    env = envs.Race()
    env.reset(seed=0)
    return env


def tuned():
    env = policies.TunedCartPole(made("cart"), policies.hierarchical.weights_of, [-1.0] * 2, [1.0] * 2)
    env.reset(options={"x": np.full(4, 0.1)})
    return env


#: name -> a function, and right arguments of it, by name.
CALLS = {
    "MPC": lambda: call(mpc.MPC, problem=made("mpc").problem, solver="daqp"),
    "MPC.V": lambda: call(made("mpc").V, theta=theta("mpc"), s=S, perturbation=U, warm_start=None),
    "MPC.Q": lambda: call(made("mpc").Q, theta=theta("mpc"), s=S, a=U, warm_start=None),
    "MPC.policy": lambda: call(made("mpc").policy, theta=theta("mpc"), s=S, perturbation=U, warm_start=None),
    "MPC.values": lambda: call(made("mpc").values, theta=theta("mpc"), states=[S], actions=[U]),
    "OptimalControlProblem": lambda: call(
        mpc.OptimalControlProblem,
        **OCP,
        n_actions=1,
        state_names=["p", "v"],
        input_names=["F"],
        angles=(0,),
        guesses=None,
        input_scale=None,
    ),
    "Parameters": lambda: call(mpc.Parameters, a=1.0, b=[1.0, 2.0]),
    "Parameters.pack": lambda: call(mpc.Parameters(a=1.0).pack, theta=[2.0], a=3.0),
    "Parameters.unpack": lambda: call(mpc.Parameters(a=1.0, b=[1.0, 2.0]).unpack, theta=[2.0, 1.0, 3.0]),
    "LQR": lambda: call(lqr().V, s=S),
    "LQR.Q": lambda: call(lqr().Q, s=S, a=U),
    "LQR.policy": lambda: call(lqr().policy, s=S),
    "lqr": lambda: call(mpc.lqr, **SYSTEM, mean=np.zeros(2), cov=np.eye(2)),
    "riccati": lambda: call(mpc.riccati, **SYSTEM),
    "riccati_iteration": lambda: call(mpc.riccati_iteration, **SYSTEM, steps=2, P=np.eye(2)),
    "ADMM": lambda: call(
        network.ADMM,
        network=made("network"),
        rho=1.0,
        iterations=3,
        tolerance=0.001,
        outage=None,
        lost=None,
        record=False,
    ),
    "ADMM.V": lambda: call(
        made("admm").V,
        theta=theta("network"),
        s=np.tile(S, 2),
        perturbation=np.ones(2),
        warm_start=made("admm").start(),
    ),
    "ADMM.Q": lambda: call(
        made("admm").Q, theta=theta("network"), s=np.tile(S, 2), a=np.ones(2), warm_start=made("admm").start()
    ),
    "ADMM.V_and_Q": lambda: call(
        made("admm").V_and_Q,
        theta=theta("network"),
        s_next=np.tile(S, 2),
        s=np.tile(S, 2),
        a=np.ones(2),
        warm_start=(None, None),
    ),
    "Agent": lambda: call(network.Agent, **AGENT),
    "Central": lambda: call(network.Central, network=made("network"), rho=1.0, solver="daqp"),
    "Central.V": lambda: call(made("central").V, theta=theta("network"), s=np.tile(S, 2), warm_start=None),
    "LocalProblem": lambda: call(network.LocalProblem, agent=problems.agent(1, 2, 2), sizes=[2], rho=1.0),
    "Network": lambda: call(network.Network, agents=[problems.agent(1, 2, 2)] * 2, edges=[(0, 1)]),
    "Network.split": lambda: call(made("network").split, theta=theta("network")),
    "average": lambda: call(network.average, P=np.full((2, 2), 0.5), values=[1.0, 2.0], rounds=2, lost=()),
    "laplacian": lambda: call(network.laplacian, n=3, edges=network.line(3)),
    "line": lambda: call(network.line, n=3),
    "ring": lambda: call(network.ring, n=3),
    "star": lambda: call(network.star, n=3),
    "mixing_matrix": lambda: call(network.mixing_matrix, n=3, edges=network.line(3), step=0.2),
    "neighbours_of": lambda: call(network.neighbours_of, n=3, edges=network.line(3)),
    "rate": lambda: call(network.rate, P=np.full((2, 2), 0.5)),
    "CartPole": lambda: call(envs.CartPole, parameters=envs.CartPoleParameters(), steps=5, start=np.zeros(4)),
    "CartPoleParameters": lambda: call(envs.CartPoleParameters, **vars(envs.CartPoleParameters()).copy()),
    "CartPoleParameters.draw": lambda: call(envs.CartPoleParameters().draw, rng=0, n=2, steps=3),
    "GustyParameters": lambda: call(envs.GustyParameters, widths=(0.0, 0.2), change=0.05),
    "GustyParameters.draw": lambda: call(envs.GustyParameters().draw, rng=0, n=2, steps=3),
    "GustyPlant": lambda: call(envs.GustyPlant, parameters=envs.GustyParameters(), steps=5, start=np.zeros(3)),
    "Home": lambda: call(envs.Home, parameters=envs.HomeParameters(), steps=5, start=np.ones(5), numbers=[11]),
    "HomeParameters": lambda: call(envs.HomeParameters, **vars(envs.HomeParameters()).copy()),
    "HomeParameters.draw": lambda: call(envs.HomeParameters().draw, rng=0, n=2, steps=3),
    "HomeParameters.starts": lambda: call(envs.HomeParameters().starts, numbers=[11, 12]),
    "LinearNetwork": lambda: call(
        envs.LinearNetwork,
        neighbours=((1,), (0,)),
        noise=0.1,
        weight=1.0,
        steps=5,
        start=S,
        recorded=np.zeros((2, 2)),
        coupling=-0.1,
        reach=10.0,
        omega=[0.5, 1.0],
    ),
    "LinearParameters": lambda: call(envs.LinearParameters, noise=0.1),
    "LinearParameters.draw": lambda: call(envs.LinearParameters().draw, rng=0, n=2, steps=3),
    "LinearPlant": lambda: call(envs.LinearPlant, noise=0.1, steps=5, start=S),
    "LinearPlant.reset": lambda: call(envs.LinearPlant().reset, seed=0, options={"x": S}),
    "LinearPlant.reset to": lambda: call(lambda x: envs.LinearPlant().reset(options={"x": x}), x=S),
    "LinearPlant.step": lambda: call(envs.LinearPlant().step, action=U),
    "LinearPlant.load_state_dict": lambda: call(
        lambda x, count, late: envs.LinearPlant().load_state_dict({"x": x, "count": count, "late": late}),
        x=[0.1, 0.2],
        count=3,
        late=[[0.1]],
    ),
    "RandomMass.load_state_dict": lambda: call(
        lambda mass, seen: envs.RandomMass().load_state_dict({"x": S, "count": 3, "mass": mass, "seen": seen}),
        mass=1.2,
        seen=[[[0.1], [0.2]]],
    ),
    "LinearPlant.change": lambda: call(envs.LinearPlant().change, noise=0.2),
    "MassEstimate": lambda: call(envs.MassEstimate, n=1, parameters=NOMINAL, prior=5.0),
    "MassEstimate.see": lambda: call(envs.MassEstimate(1).see, x=[S], u=U, v_next=U),
    "NetworkParameters": lambda: call(
        envs.NetworkParameters, neighbours=((1,), (0,)), noise=0.1, weight=1.0, coupling=-0.1, reach=10.0
    ),
    "NetworkParameters.draw": lambda: call(envs.NetworkParameters().draw, rng=0, n=2, steps=3),
    "Pendulum": lambda: call(envs.Pendulum, parameters=NOMINAL, steps=5, start=S),
    "PendulumParameters": lambda: call(envs.PendulumParameters, **vars(envs.PendulumParameters()).copy()),
    "PendulumParameters.draw": lambda: call(NOMINAL.draw, rng=0, n=2, steps=3, kick_probability=0.1, kick=1.0),
    "PowerParameters": lambda: call(envs.PowerParameters, **vars(envs.PowerParameters())),
    "PowerParameters.draw": lambda: call(envs.PowerParameters().draw, rng=0, n=2, steps=3, scenario=()),
    "PowerSystem": lambda: call(
        envs.PowerSystem,
        parameters=envs.PowerParameters(),
        noise=0.1,
        weight=1.0,
        steps=5,
        scenario=(),
        recorded=np.zeros((2, 4)),
    ),
    "PowerSystem.step": lambda: call(envs.PowerSystem().step, action=np.zeros(4)),
    "Race": lambda: call(envs.Race, parameters=envs.RaceParameters(), steps=5, start=np.ones(4)),
    "Race.step": lambda: call(race().step, action=[0.1, 0.2]),
    "RaceParameters": lambda: call(envs.RaceParameters, **vars(envs.RaceParameters())),
    "RaceParameters.draw": lambda: call(envs.RaceParameters().draw, rng=0, n=2, steps=3),
    "Filtered": lambda: call(
        envs.Filtered, env=envs.LinearPlant(), change=no_change, store="raw", price=0.1, start=lambda x: True
    ),
    "Filtered.step": lambda: call(envs.Filtered(envs.LinearPlant(), no_change).step, action=U),
    "Scaled": lambda: call(envs.Scaled, env=envs.LinearPlant()),
    "Scaled.step": lambda: call(envs.Scaled(envs.LinearPlant()).step, action=U),
    "RandomMass": lambda: call(envs.RandomMass, masses=(0.7, 1.3), identify=True),
    "RandomMass.reset": lambda: call(envs.RandomMass().reset, seed=0, options={"x": S}),
    "wrap": lambda: call(envs.wrap, q=4.0),
    "agent": lambda: call(problems.agent, degree=1, order=1, horizon=2, discount=0.9),
    "cartpole_mpc": lambda: call(
        problems.cartpole_mpc, model=envs.CartPoleParameters(), horizon=2, solver="ipopt", track="soft"
    ),
    "home_mpc": lambda: call(
        problems.home_mpc,
        simple=True,
        horizon=4,
        plant=envs.HomeParameters(),
        stride=2,
        perfect=False,
        discount=0.99,
        curvature=0.01,
    ),
    "joint_mpc": lambda: call(
        problems.joint_mpc, parameters=envs.PowerParameters(), horizon=2, discount=0.9, weight=1.0
    ),
    "layer_mpc": lambda: call(problems.layer_mpc, horizon=2, discount=0.9),
    "race_mpc": lambda: call(problems.race_mpc, model=envs.RaceParameters(), horizon=2, solver="ipopt"),
    "safety_mpc": lambda: call(problems.safety_mpc, model=envs.RaceParameters(), horizon=2, solver="ipopt"),
    "linear_mpc": lambda: call(problems.linear_mpc, horizon=2, discount=0.9, solver="daqp", learn_weights=False),
    "network_mpc": lambda: call(problems.network_mpc, n=2, edges=[(0, 1)], order=2, horizon=2, discount=0.9),
    "pendulum_mpc": lambda: call(problems.pendulum_mpc, model=NOMINAL, horizon=2, solver="ipopt", max_speed=5.0),
    "power_mpc": lambda: call(
        problems.power_mpc,
        parameters=envs.PowerParameters(),
        ties=np.ones((4, 4)),
        horizon=2,
        discount=0.9,
        weight=1.0,
        told=True,
    ),
    "AngleOnly": lambda: call(policies.AngleOnly, controller=hold, model=NOMINAL),
    "AngleOnly.call": lambda: call(policies.AngleOnly(hold), x=[S]),
    "Filter": lambda: call(policies.Filter, controller=hold, change=no_change),
    "Filter.call": lambda: call(policies.Filter(hold, no_change), y=[S]),
    "IdentifyingPolicy": lambda: call(policies.IdentifyingPolicy, actor=hold),
    "IdentifyingPolicy.call": lambda: call(policies.IdentifyingPolicy(hold), x=[S]),
    "MPPI": lambda: call(
        policies.MPPI,
        dynamics=pendulum.dynamics,
        cost=pendulum.stage_cost,
        lower=[-2.0],
        upper=[2.0],
        horizon=2,
        samples=4,
        temperature=1.0,
        sigma=1.0,
        gamma=0.9,
        encode=lambda y: y,
        prior=hold,
        guided=1,
        prior_sigma=0.1,
        terminal=None,
        weights=policies.mppi_weights,
        n_measured=2,
        seed=0,
    ),
    "MPPI.call": lambda: call(made("mppi"), y=[S]),
    "NetworkScenarios": lambda: call(
        policies.NetworkScenarios,
        network=made("network"),
        enter=lambda x, d, p: x + d[0],
        disturbances=[[0.1], [0.0]],
        varied={},
        shared="all",
        solver="daqp",
    ),
    "NetworkScenarios.V": lambda: call(
        made("scenarios").V, theta=theta("network"), s=np.tile(S, 2), disturbances=[[0.1], [0.0]], warm_start=None
    ),
    "Receding": lambda: call(
        policies.Receding, mpc=made("mpc"), theta=theta("mpc"), delay=1, stack=None, first=policies.first_plan
    ),
    "Receding.call": lambda: call(policies.Receding(made("mpc")), y=[S]),
    "Scenarios": lambda: call(
        policies.Scenarios,
        base=made("mpc").problem,
        varied={"V0": [0.0, 1.0]},
        probabilities=[0.5, 0.5],
        shared="first",
        residual=None,
    ),
    "Scenarios.stack": lambda: call(policies.Scenarios(made("mpc").problem, {"V0": [0.0, 1.0]}).stack, s=S),
    "barrier_filter": lambda: call(policies.barrier_filter, policy=hold, max_speed=5.0, kappa=0.3, p=NOMINAL),
    "barrier_torques": lambda: call(policies.barrier_torques, x=[S], max_speed=5.0, kappa=0.3, p=NOMINAL),
    "cartpole_back_off": lambda: call(
        policies.cartpole_back_off, mpc=made("cart"), theta=theta("cart"), errors=np.full((3, 4), 0.1), level=0.9
    ),
    "chance_back_off": lambda: call(policies.chance_back_off, sigma=1.0, epsilon=0.1, samples=[0.1, 0.2]),
    "energy_rule": lambda: call(policies.energy_rule, x=np.array([S])),
    "first_plan": lambda: call(policies.first_plan, mpc=made("mpc"), theta=theta("mpc"), s=S),
    "Memoryless": lambda: call(
        policies.Memoryless, mpc=made("pendulum"), guess=problems.pendulum.swing, theta=theta("pendulum")
    ),
    "Memoryless.call": lambda: call(policies.pendulum_expert(made("pendulum")), y=[S]),
    "pendulum_expert": lambda: call(policies.pendulum_expert, mpc=made("pendulum")),
    "Nearest": lambda: call(
        policies.Nearest, x=np.zeros((2, 4, 2)), u=np.zeros((2, 3, 1)), angle=0, scale=np.array([1.0, 2.0])
    ),
    "Nearest.call": lambda: call(policies.Nearest(np.zeros((2, 4, 2)), np.zeros((2, 3, 1)), 0, [1.0, 1.0]), s=S),
    "OnDemand": lambda: call(
        policies.OnDemand,
        mpc=made("mpc"),
        flag=lambda s, plan: True,
        theta=theta("mpc"),
        delay=1,
        stack=None,
        first=policies.first_plan,
    ),
    "departed": lambda: call(policies.departed, epsilon=0.1, scale=np.array([1.0, 2.0])),
    "PredictedSet": lambda: call(
        policies.PredictedSet, mpc=made("mpc"), predict=lambda s: np.zeros(6), theta=theta("mpc")
    ),
    "PredictedSet.call": lambda: call(policies.PredictedSet(made("mpc"), lambda s: np.zeros(6)), y=np.array([S])),
    "VaryingHorizon": lambda: call(
        policies.VaryingHorizon,
        mpcs=[made("mpc"), problems.linear_mpc(3)],
        choose=lambda s, plan: 0,
        theta=theta("mpc"),
        delay=1,
        stack=None,
        first=policies.first_plan,
    ),
    "Predicted": lambda: call(policies.Predicted, network=made("planner"), N=3, angle=0, lower=-1.0, upper=1.0),
    "Predicted.call": lambda: call(policies.Predicted(made("planner"), 3, 0, -1.0, 1.0), s=S),
    "compare_guesses": lambda: call(
        policies.compare_guesses,
        mpc=made("pendulum"),
        theta=theta("pendulum"),
        guesses={"held": lambda s: policies.guesses.held(s, 3)},
        starts=[S],
    ),
    "compare_guesses of what a guess says": lambda: call(
        lambda warm_start: policies.compare_guesses(
            made("pendulum"), theta("pendulum"), {"mine": lambda s: warm_start}, [S]
        ),
        warm_start=(np.zeros((4, 2)), np.zeros((3, 1))),
    ),
    "guesses.held": lambda: call(policies.guesses.held, s=S, N=2, n_inputs=1),
    "guesses.line": lambda: call(policies.guesses.line, s=S, N=2, angle=0),
    "guesses.windows": lambda: call(
        policies.guesses.windows, x=np.zeros((4, 2, 2)), u=np.zeros((3, 2, 1)), N=2, every=1
    ),
    "guesses.mirrored": lambda: call(policies.guesses.mirrored, x=np.zeros((2, 4, 2)), u=np.zeros((2, 3, 1))),
    "guesses.lesson": lambda: call(policies.guesses.lesson, x=np.zeros((2, 4, 2)), u=np.zeros((2, 3, 1)), angle=0),
    "ResidualModel": lambda: call(policies.ResidualModel, phi=made("phi")),
    "integrated_mpc": lambda: call(
        policies.integrated_mpc,
        phi=made("phi"),
        model=envs.CartPoleParameters(),
        horizon=2,
        solver="ipopt",
        cost=made("phi"),
        split=True,
    ),
    "kalman_gain": lambda: call(policies.kalman_gain, model=NOMINAL, torque_noise=0.3, angle_noise=0.02),
    "linear_back_off": lambda: call(
        policies.linear_back_off, mpc=made("mpc"), theta=theta("mpc"), errors=np.full((3, 2), 0.1), level=0.9
    ),
    "mass_scenarios": lambda: call(policies.mass_scenarios, masses=(0.8, 1.2), horizon=2),
    "mppi_weights": lambda: call(policies.mppi_weights, J=[1.0, 2.0], temperature=0.5),
    "predictive_filter": lambda: call(
        policies.predictive_filter, policy=hold, max_speed=5.0, p=NOMINAL, steps=2, candidates=3
    ),
    "Thermostat": lambda: call(policies.Thermostat, plant=envs.HomeParameters()),
    "HomeProgram": lambda: call(
        problems.HomeProgram,
        plant=envs.HomeParameters(),
        horizon=4,
        decided=2,
        on_off=True,
        run_time=2,
        forecasts=2,
        perfect=False,
        gap=0.1,
        seed=0,
    ),
    "HomeProgram.plan": lambda: call(
        problems.HomeProgram(horizon=4, decided=2).plan, s=[20.0, 20.0, 4.0, 10.0, 3.0], on=True, left=1
    ),
    "Programmed": lambda: call(policies.Programmed, program=problems.HomeProgram(horizon=4), every=2),
    "Switched": lambda: call(policies.Switched, controller=hold, plant=envs.HomeParameters(), run_time=2),
    "linear_theta": lambda: call(policies.linear_theta, mpc=problems.linear_mpc(2), z=np.full(5, 0.2)),
    "push_scenarios": lambda: call(policies.push_scenarios, pushes=(-0.1, 0.0), mpc=problems.linear_mpc(2)),
    "proportional": lambda: call(policies.proportional, gain=1.0, plant=envs.HomeParameters()),
    "by_tariff": lambda: call(policies.by_tariff, gain=1.0, plant=envs.HomeParameters()),
    "robust_back_off": lambda: call(policies.robust_back_off, sigma=1.0, epsilon=0.1),
    "speed_deviation": lambda: call(policies.speed_deviation, p=NOMINAL),
    "ActorCritic": lambda: call(
        learners.ActorCritic,
        n_states=3,
        lower=[-1.0],
        upper=[1.0],
        rng=rng(),
        width=4,
        actor_rate=0.001,
        critic_rate=0.001,
        gamma=0.9,
        tau=0.1,
        huber=1.0,
        next_action="target",
    ),
    "DDPG": lambda: call(
        learners.DDPG,
        env=envs.Pendulum(),
        rng=rng(),
        agent=made("actor"),
        batch=4,
        memory=8,
        warm_up=4,
        noise=0.2,
        mask_truncation=False,
    ),
    "DistributedQLearning": lambda: call(
        learners.DistributedQLearning,
        controller=made("central"),
        env=envs.LinearNetwork(((1,), (0,))),
        rng=rng(),
        theta=theta("network"),
        P=np.full((2, 2), 0.5),
        rounds=2,
        step_size=0.001,
        order=2,
        sigma=1.0,
        safeguard=True,
        alone=False,
        own_td=False,
        behaviour=learners.greedy,
        replay=(4, 2, 1),
        every=1,
        learned=["V0"],
        lower=theta("network") - 1.0,
        upper=theta("network") + 1.0,
        gradient=None,
    ),
    "DAgger": lambda: call(
        learners.DAgger,
        expert=policies.energy_rule,
        plant=NOMINAL,
        starts=learners.hanging,
        rng=rng(),
        n=2,
        steps=3,
        beta=0.5,
        when=None,
        mirror=True,
        fit_steps=2,
        width=4,
        memory=10,
    ),
    "Pupil": lambda: call(learners.Pupil, n_states=2, n_inputs=1, rng=rng(), width=4),
    "Pupil.call": lambda: call(learners.Pupil(2, 1, rng(), width=4), y=[S]),
    "Pupil.learn": lambda: call(
        learners.Pupil(2, 1, rng(), width=4).learn, x=[S, S], u=[U, -U], rng=rng(), mirror=True, steps=2
    ),
    "Pupil.improve": lambda: call(
        learners.Pupil(2, 1, rng(), width=4).improve, x=[S, S], u=[U, -U], rng=rng(), mirror=True, steps=2, batch=3
    ),
    "clone": lambda: call(learners.clone, x=[S, S], u=[U, -U], rng=rng(), mirror=True, width=4, steps=2),
    "demonstrate": lambda: call(
        learners.demonstrate, expert=policies.energy_rule, plant=NOMINAL, starts=[S], steps=2, rng=rng()
    ),
    "hanging": lambda: call(learners.hanging, rng=rng(), n=2),
    "mirror_images": lambda: call(learners.mirror_images, x=[S, S], u=[U, -U]),
    "Demonstrated": lambda: call(
        learners.Demonstrated,
        env=envs.Pendulum(),
        rng=rng(),
        demonstrations=[np.ones((2, 3)), np.ones((2, 1)), np.ones(2), np.ones((2, 3)), np.zeros(2)],
        part=0.5,
        offline=1,
        batch=4,
        memory=8,
        warm_up=4,
    ),
    "Guided": lambda: call(
        learners.Guided,
        env=envs.Pendulum(),
        rng=rng(),
        expert=policies.energy_rule,
        use=0.5,
        epsilon=0.5,
        alone=2,
        price=1.0,
        recent=10,
        batch=4,
        memory=8,
        warm_up=4,
        noise=0.2,
    ),
    "SkipPolicy": lambda: call(
        learners.SkipPolicy,
        n_states=3,
        options=[(False, 2), (True, 1)],
        rng=rng(),
        price=1.0,
        gamma=0.9,
        tau=0.1,
        rate=0.1,
        width=4,
    ),
    "transitions": lambda: call(
        learners.transitions, env=envs.Pendulum(), expert=policies.energy_rule, steps=2, rng=rng()
    ),
    "LatentLearning": lambda: call(
        learners.LatentLearning,
        model=made("latent"),
        s=np.zeros((4, 2, 2)),
        a=np.zeros((3, 2, 1)),
        cost=np.zeros((3, 2)),
        rng=rng(),
        batch=2,
    ),
    "LatentModel": lambda: call(
        learners.LatentModel,
        n_measured=2,
        lower=[-1.0],
        upper=[1.0],
        rng=rng(),
        n=2,
        K=2,
        weights=(1.0, 0.5, 0.1),
        rho=0.7,
        gamma=0.9,
        tau=0.1,
        stop_gradient=True,
        rate=0.001,
        width=4,
        scale=1.0,
        cost_scale=0.1,
    ),
    "LatentModel.encode": lambda: call(made("latent").encode, s=[S]),
    "Perturbation": lambda: call(
        learners.Perturbation,
        cost=lambda z, rng: z[:, 0],
        theta=[0.0],
        sigma=[1.0],
        rng=rng(),
        pairs=2,
        step_size=0.5,
        lower=[-1.0],
        upper=[1.0],
    ),
    "PolicyGradient": lambda: call(
        learners.PolicyGradient,
        mpc=made("mpc"),
        env=envs.LinearPlant(),
        rng=rng(),
        theta=theta("mpc"),
        step_size=0.1,
        noise=0.1,
        length=3,
        natural=False,
        regularisation=1e-6,
        largest=1.0,
        lower=theta("mpc") - 1.0,
        upper=theta("mpc") + 1.0,
        gradient=None,
    ),
    "LayerLearning": lambda: call(
        learners.LayerLearning,
        mpc=problems.layer_mpc(2),
        env=envs.LinearPlant(),
        rng=rng(),
        lower=[-0.3] * 3,
        upper=[0.3] * 3,
        theta=theta("mpc"),
        noise=0.1,
        warm_up=3,
        actor_after=4,
        every=2,
        batch=4,
        actor_batch=2,
        memory=10,
        sees=learners.layered.blind,
        judges=learners.layered.scaled,
        through=True,
        width=4,
        critic_width=4,
        actor_rate=0.001,
        critic_rate=0.001,
        gamma=0.9,
        tau=0.1,
    ),
    "TerminalValue": lambda: call(
        learners.TerminalValue,
        mpc=problems.terminal_mpc(),
        env=envs.LinearPlant(),
        rng=rng(),
        features=problems.linear.value_features,
        project=problems.linear.convex,
        theta=problems.terminal_mpc().parameters.initial(),
        step_size=0.1,
        noise=0.1,
        update=learners.terminal_value.td_step,
    ),
    "terminal_mpc": lambda: call(problems.terminal_mpc, horizon=2, discount=0.9),
    "ThroughTime": lambda: call(
        learners.ThroughTime,
        mpc=made("mpc"),
        env=envs.LinearPlant(),
        rng=rng(),
        slopes=envs.linear.slopes,
        theta=theta("mpc"),
        step_size=0.1,
        window=5,
        length=3,
        largest=1.0,
        gamma=1.0,
        sweep=lambda *parts: np.zeros(theta("mpc").size),
    ),
    "PrimalDual": lambda: call(
        learners.PrimalDual,
        env=envs.Pendulum(),
        rng=rng(),
        violation=lambda s: 0.0,
        budget=0.1,
        rate=1.0,
        multiplier=0.0,
        batch=4,
        memory=8,
        warm_up=4,
        noise=0.2,
    ),
    "QLearning": lambda: call(
        learners.QLearning,
        mpc=made("mpc"),
        env=envs.LinearPlant(),
        rng=rng(),
        theta=theta("mpc"),
        step_size=0.1,
        order=2,
        hessian="none",
        sigma=0.001,
        act="before",
        behaviour=learners.greedy,
        replay=(1, 1, 1),
        fresh=False,
        lower=theta("mpc") - 1.0,
        upper=theta("mpc") + 1.0,
        gradient=None,
        update=None,
    ),
    "QLearning.run": lambda: call(
        learner().run, steps=1, save=None, save_every=10, resume=False, progress=False, on_step=None
    ),
    "QLearning scheduled": lambda: call(lambda step_size: learner(step_size=lambda k: step_size).step(), step_size=0.1),
    "Replay": lambda: call(learners.Replay, size=4, batch=2, latest=1),
    "cartpole_transitions": lambda: call(
        learners.cartpole_transitions,
        plant=envs.CartPoleParameters(),
        x=np.zeros((2, 4)),
        u=np.zeros((2, 1)),
        rng=rng(),
        copies=2,
        anywhere=3,
    ),
    "fit": lambda: call(
        learners.fit,
        network=made("phi").copy(),
        x=np.zeros((3, 5)),
        y=np.ones((3, 2)),
        rng=rng(),
        steps=3,
        batch=2,
        rate=0.1,
    ),
    "TabularQLearning": lambda: call(
        learners.TabularQLearning,
        transition=lambda s, a: (1.0, 0, False),
        states=2,
        actions=2,
        gamma=0.9,
        rng=rng(),
        epsilon=0.2,
        power=0.6,
        episode=5,
        start=lambda: 0,
        Q=np.zeros((2, 2)),
        ahead=10,
    ),
    "central_step": lambda: call(
        learners.central_step,
        gradients=[np.ones((2, 3))],
        hessians=[np.ones((2, 3, 3))],
        td=[0.1, 0.2],
        sigma=1.0,
        safeguard=True,
    ),
    "constant": lambda: call(learners.constant, value=0.1),
    "distributed_step": lambda: call(
        learners.distributed_step,
        gradients=[np.ones((2, 3))] * 2,
        hessians=[np.ones((2, 3, 3))] * 2,
        td=[0.1, 0.2],
        sigma=1.0,
        P=np.full((2, 2), 0.5),
        rounds=3,
        safeguard=True,
    ),
    "epsilon_greedy": lambda: call(learners.epsilon_greedy, epsilon=0.1, lower=[-1.0], upper=[1.0]),
    "exponential": lambda: call(learners.exponential, start=0.1, factor=0.9, every=2),
    "noisy_action": lambda: call(learners.noisy_action, a=U, sigma=0.1, lower=-np.ones(1), upper=np.ones(1), rng=rng()),
    "pendulum_policy": lambda: call(learners.pendulum_policy, agent=made("actor")),
    "pendulum_value": lambda: call(learners.pendulum_value, agent=made("actor")),
    "noisy": lambda: call(learners.noisy, sigma=0.1, lower=[-1.0], upper=[1.0]),
    "perturbed_cost": lambda: call(learners.perturbed_cost, epsilon=0.1, strength=0.2),
    "saved_log": lambda: call(learners.saved_log, path="no such run"),
    "trained_agent": lambda: call(learners.trained_agent, file=made("file"), kind="nominal", seed=0, max_torque=2.0),
    "trained_policies": lambda: call(learners.trained_policies, file=made("file"), seed=0),
    "FIXED_STARTS": lambda: call(dp.FIXED_STARTS.copy),
    "FiniteMDP": lambda: call(dp.FiniteMDP, P=np.full((2, 2, 2), 0.5), cost=np.ones((2, 2)), gamma=0.9),
    "FiniteMDP.action_values": lambda: call(made("mdp").action_values, V=np.ones(2)),
    "FiniteMDP.discounted": lambda: call(made("mdp").discounted, gamma=0.8),
    "Grid": lambda: call(dp.Grid, lower=[0.0, 0.0], upper=[1.0, 1.0], sizes=[3, 3], periodic=[True, False]),
    "Grid.interpolate": lambda: call(made("grid").interpolate, V=np.ones(9), x=[S]),
    "Grid.matrix": lambda: call(made("grid").matrix, x=[S]),
    "bellman": lambda: call(dp.bellman, mdp=made("mdp"), V=np.ones(2)),
    "evaluate": lambda: call(dp.evaluate, policy=hold, plant=NOMINAL, starts=[S], steps=2, seed=0),
    "greedy_policy.call": lambda: call(dp.greedy_policy(made("grid"), np.ones(9), [-1.0, 1.0], 0.9), x=[S]),
    "table_policy.call": lambda: call(dp.table_policy(made("grid"), np.ones((9, 2)), [-1.0, 1.0]), x=[S]),
    "pendulum_policy.call": lambda: call(learners.pendulum_policy(made("actor")), x=[S]),
    "ActorCritic.value": lambda: call(made("actor").value, s=[0.1, 0.2, 0.3], a=U),
    "sampler.call": lambda: call(dp.sampler(made("mdp"), rng()), s=1, a=1),
    "greedy_policy": lambda: call(
        dp.greedy_policy, grid=made("grid"), V=np.ones(9), torques=[-1.0, 1.0], gamma=0.9, parameters=NOMINAL
    ),
    "pendulum_grid": lambda: call(dp.pendulum_grid, angles=3, velocities=3),
    "pendulum_mdp": lambda: call(
        dp.pendulum_mdp, grid=made("grid"), torques=[-1.0, 1.0], gamma=0.9, parameters=NOMINAL, nodes=3
    ),
    "pendulum_value_iteration": lambda: call(
        dp.pendulum_value_iteration, angles=3, velocities=3, torques=3, gamma=0.5, parameters=NOMINAL, tolerance=0.1
    ),
    "policy_iteration": lambda: call(dp.policy_iteration, mdp=made("mdp"), policy=[0, 1], rounds=5),
    "policy_value": lambda: call(dp.policy_value, mdp=made("mdp"), policy=[0, 1]),
    "sampler": lambda: call(dp.sampler, mdp=made("mdp"), rng=rng()),
    "simulate": lambda: call(dp.simulate, policy=hold, plant=NOMINAL, starts=[S], steps=2, seed=0),
    "table_policy": lambda: call(dp.table_policy, grid=made("grid"), Q=np.ones((9, 2)), torques=[-1.0, 1.0]),
    "value_iteration": lambda: call(dp.value_iteration, mdp=made("mdp"), V=np.ones(2), tolerance=0.1, sweeps=5),
    "measured": lambda: call(closed_loop.measured, y=[S], entries=2),
    "rowwise": lambda: call(closed_loop.rowwise, f=lambda y: 0.0),
    "rowwise.call": lambda: call(closed_loop.rowwise(lambda y: 0.0), y=[S]),
    "run": lambda: call(closed_loop.run, controller=hold, **PLAN),
    "run of what a controller says": lambda: call(
        lambda controller: closed_loop.run(lambda y: controller, **PLAN), controller=[[0.1]]
    ),
    "rowwise of what f says": lambda: call(lambda f: closed_loop.rowwise(lambda y: f)([S]), f=[0.1]),
    "Filter of what a controller says": lambda: call(
        lambda controller: policies.Filter(lambda y: controller, no_change)([S]), controller=[[0.1]]
    ),
    "Filter of what change says": lambda: call(
        lambda change: policies.Filter(hold, lambda y, u: change)([S]), change=[[0.1]]
    ),
    "barrier_filter of what a policy says": lambda: call(
        lambda policy: policies.barrier_filter(lambda y: policy, 5.0)([S]), policy=[[0.1]]
    ),
    "predictive_filter of what a policy says": lambda: call(
        lambda policy: policies.predictive_filter(lambda y: policy, 5.0, steps=2)([S]), policy=[[0.1]]
    ),
    "AngleOnly of what a controller says": lambda: call(
        lambda controller: policies.AngleOnly(lambda y: controller)([S]), controller=[[0.1]]
    ),
    "IdentifyingPolicy of what an actor says": lambda: call(
        lambda actor: policies.IdentifyingPolicy(lambda y: actor)([S]), actor=[[0.1]]
    ),
    "ADMM of what outage and lost say": lambda: call(
        lambda outage, lost: network.ADMM(
            made("network"), iterations=2, outage=lambda t, i: outage if t else False, lost=lambda *message: lost
        ).V(theta("network"), np.tile(S, 2)),
        outage=False,
        lost=True,
    ),
    "input_scale of what it says": lambda: call(
        lambda input_scale: mpc.OptimalControlProblem(**OCP, input_scale=lambda p: input_scale), input_scale=2.0
    ),
    "BlendedValue": lambda: call(
        policies.BlendedValue,
        mpc=made("mpc"),
        Q=lambda s, a: a[:, 0],
        offsets=[[0.1], [-0.1]],
        beta=0.5,
        theta=theta("mpc"),
    ),
    "BlendedValue.call": lambda: call(policies.BlendedValue(made("mpc"), lambda s, a: a[:, 0], [[0.1]]), y=[S]),
    "BlendedValue of what Q says": lambda: call(
        lambda Q: policies.BlendedValue(made("mpc"), lambda s, a: Q, [[0.1]])([S]), Q=[0.1, 0.2]
    ),
    "CommonGuess": lambda: call(policies.CommonGuess, nominal=made("mpc"), theta=theta("mpc")),
    "CommonGuess.call": lambda: call(policies.CommonGuess(made("mpc")), mpc=made("mpc"), theta=theta("mpc"), s=S),
    "Hierarchical": lambda: call(
        policies.Hierarchical,
        mpc=made("mpc"),
        phi=lambda s: {"V0": s[0]},
        theta=theta("mpc"),
        first=policies.first_plan,
    ),
    "Hierarchical.call": lambda: call(policies.Hierarchical(made("mpc"), lambda s: {"V0": s[0]}), y=[S]),
    "Hierarchical of what phi says": lambda: call(
        lambda phi: policies.Hierarchical(made("mpc"), lambda s: phi)([S]), phi={"V0": 0.1}
    ),
    "hierarchical.gate": lambda: call(policies.hierarchical.gate, factor=10.0),
    "hierarchical.constant_weight": lambda: call(policies.hierarchical.constant_weight, factor=10.0),
    "hierarchical.phi_of": lambda: call(policies.hierarchical.phi_of, z=np.zeros(10)),
    "hierarchical.jumping": lambda: call(policies.hierarchical.jumping, low={}, high={"target": 1.0}, rate=1e5),
    "hierarchical.weights_of": lambda: call(policies.hierarchical.weights_of, a=[0.1, 0.2]),
    "hierarchical.actor_of": lambda: call(policies.hierarchical.actor_of, agent=made("actor"), phi=lambda a: {}),
    "Parallel": lambda: call(policies.Parallel, controller=hold, r=lambda y, u: u, beta=0.5),
    "Parallel.call": lambda: call(policies.Parallel(hold, lambda y, u: u), y=[S]),
    "Parallel of what r says": lambda: call(lambda r: policies.Parallel(hold, lambda y, u: r)([S]), r=[[0.1]]),
    "RaceSafety": lambda: call(
        policies.RaceSafety,
        model=envs.RaceParameters(),
        track=2.4,
        horizon=40,
        iterations=1,
        mpc=made("safety").mpc,
        live=False,
    ),
    "RaceSafety.decide": lambda: call(made("safety").decide, x=np.array([3.0, 0.1, 0.0, 5.0]), wanted=[1.0, 0.1]),
    "ReferenceGenerator": lambda: call(
        policies.ReferenceGenerator,
        mpc=made("race"),
        theta=theta("race"),
        every=5,
        tracker=policies.tracker(),
        iterations=1,
        first=policies.first_plan,
    ),
    "reference_at": lambda: call(policies.reference_at, plan=made("plan of a race"), s=3.5, gain=0.9),
    "tracker": lambda: call(policies.tracker, z=np.ones(5)),
    "Clip": lambda: call(
        policies.Clip, S=policies.safe_set.robust_invariant_set(), w=0.1, A=envs.linear.A, B=envs.linear.B, limit=1.0
    ),
    "Clip.interval": lambda: call(policies.Clip().interval, y=[S]),
    "robust_invariant_set": lambda: call(
        policies.robust_invariant_set,
        w=0.1,
        A=envs.linear.A,
        B=envs.linear.B,
        lower=[0.0, -1.0],
        upper=[1.0, 1.0],
        limit=1.0,
        iterations=20,
    ),
    "WithMPC": lambda: call(
        policies.WithMPC,
        env=envs.Race(),
        mpc=made("race"),
        phi=policies.asked_speed,
        lower=[-1.0],
        upper=[1.0],
        theta=theta("race"),
        first=policies.first_plan,
    ),
    "asked_speed": lambda: call(policies.asked_speed, a=[0.3]),
    "speed_ahead": lambda: call(policies.speed_ahead, w=1.0, ahead=10.0),
    "race_barrier": lambda: call(
        policies.race_barrier, driver=lambda y: np.ones((len(y), 2)), alpha=3.0, p=envs.RaceParameters(), track=2.4
    ),
    "TunedCartPole": lambda: call(
        policies.TunedCartPole,
        mpc=made("cart"),
        phi=policies.hierarchical.weights_of,
        lower=[-1.0, -1.0],
        upper=[1.0, 1.0],
        theta=theta("cart"),
        starts=np.full((2, 4), 0.1),
        first=policies.first_plan,
        price=1.0,
        parameters=envs.CartPoleParameters(),
        steps=5,
    ),
    "TunedCartPole.step": lambda: call(tuned().step, action=[0.1, 0.2]),
    "comparison.hanging_starts": lambda: call(policies.comparison.hanging_starts, n=2, seed=3),
    "comparison.measure": lambda: call(
        policies.comparison.measure,
        controller=hold,
        plant=envs.CartPoleParameters(),
        starts=np.full((2, 4), 0.1),
        steps=3,
    ),
    "comparison.objective": lambda: call(
        policies.comparison.objective,
        controller=hold,
        starts=np.full((2, 4), 0.1),
        end=50.0,
        most=400.0,
        steps=3,
        plant=envs.CartPoleParameters(),
    ),
    "missing_force": lambda: call(
        policies.missing_force,
        x=np.full((2, 4), 0.1),
        u=np.ones((2, 1)),
        ahead=np.full((2, 4), 0.2),
        model=envs.CartPoleParameters(),
    ),
    "tuned_theta": lambda: call(
        policies.tuned_theta, mpc=made("cart"), z=np.full(6, 0.1), terminal=True, model=envs.CartPoleParameters()
    ),
    **{
        name: lambda kind=kind, options=options: call(
            kind, cost=lambda z, rng: z[0] ** 2, lower=[0.0], upper=[1.0], rng=rng(), first=[0.5], **options
        )
        for name, kind, options in (
            ("Tuner", learners.Tuner, {}),
            ("CrossEntropySearch", learners.CrossEntropySearch, {"population": 4, "elite": 2}),
            (
                "SurrogateSearch",
                learners.SurrogateSearch,
                {"begin": 2, "candidates": 10, "acquisition": learners.expected_improvement},
            ),
        )
    },
    "GaussianProcess": lambda: call(learners.GaussianProcess, x=[[0.1], [0.5]], y=[1.0, 2.0]),
    "GaussianProcess.call": lambda: call(learners.GaussianProcess([[0.1], [0.5]], [1.0, 2.0]), x=[[0.3]]),
    "expected_improvement": lambda: call(learners.expected_improvement, mean=[1.0], deviation=[0.5], best=0.7),
    "FittedQ": lambda: call(
        learners.FittedQ,
        mpc=made("mpc"),
        data=learners.Logged(S[None], U[None], np.ones(1), S[None], np.zeros(1, bool)),
        rng=rng(),
        theta=theta("mpc"),
        batch=2,
        step_size=0.1,
        sigma=0.1,
        lower=theta("mpc") - 1.0,
        upper=theta("mpc") + 1.0,
    ),
    "targets": lambda: call(learners.targets, cost=[1.0], value_next=[2.0], terminated=[False], gamma=0.9),
    "evaluated": lambda: call(
        learners.evaluated, features=[[1.0, 0.2]], features_next=[[1.0, 0.1]], cost=[1.0], gamma=0.9, iterations=3
    ),
    "logged": lambda: call(learners.logged, found=closed_loop.run(hold, **PLAN)),
    "quadratic_iteration": lambda: call(
        learners.quadratic_iteration,
        data=problems.quadratic.collect(np.zeros((1, 2)), np.zeros(1), 20, rng(), 0.5),
        iterations=2,
    ),
    "CrossEntropy": lambda: call(
        learners.CrossEntropy,
        cost=lambda z, rng: z[:, 0] ** 2,
        mu=[0.1],
        sigma=[1.0],
        rng=rng(),
        population=4,
        elite=2,
    ),
    "CrossEntropy of what cost says": lambda: call(
        lambda cost: learners.CrossEntropy(lambda z, rng: cost, [0.1], [1.0], rng(), population=2, elite=1).step(),
        cost=[0.1, 0.2],
    ),
    "BlendedDDPG": lambda: call(
        learners.BlendedDDPG,
        env=envs.LinearEpisodes(),
        rng=rng(),
        mpc=made("mpc"),
        theta=theta("mpc"),
        beta=0.5,
        state=lambda s: s / 4.0,
        width=4,
        huber=1.0,
        batch=4,
        memory=8,
        warm_up=4,
    ),
    "TeamIteration": lambda: call(
        learners.TeamIteration,
        team=problems.LinearTeam(),
        rng=rng(),
        summed=True,
        M=20,
        exploration=0.5,
        ridge=1e-3,
        K=problems.LinearTeam().start(),
        heard=np.eye(3),
    ),
    "DecomposedTD": lambda: call(
        learners.DecomposedTD,
        team=problems.LinearTeam(),
        rng=rng(),
        sends="delta",
        order=2,
        alpha=0.1,
        sigma=1.0,
        eta=0.02,
        T=3,
        P=np.full((3, 3), 1 / 3),
        rounds=2,
        local_step=second_order_local,
    ),
    "LinearTeam": lambda: call(
        problems.LinearTeam, omega=(1.0, 0.5), coupling=-0.1, neighbours=((1,), (0,)), discount=0.9, deviation=0.05
    ),
    "Alone": lambda: call(policies.Alone, plant=envs.NetworkParameters(), told=False, push=np.zeros(3), back_off=0.05),
    "mean_push": lambda: call(policies.mean_push, plant=envs.NetworkParameters(), rng=0, steps=4, settled=1),
    "true_theta": lambda: call(policies.true_theta, network=made("network"), coupling=-0.1, back_off=0.05),
    "BlendedIteration": lambda: call(
        learners.BlendedIteration,
        mpc=made("quadratic"),
        phi=theta("quadratic"),
        rng=rng(),
        beta=0.5,
        M=20,
        lengths=2,
        ridge=0.001,
        exploration=0.3,
    ),
    "LinearEpisodes": lambda: call(envs.LinearEpisodes, noise=0.1, steps=20),
    "LocalCritic": lambda: call(
        learners.LocalCritic,
        mpc=made("mpc"),
        env=envs.LinearPlant(),
        rng=rng(),
        theta=theta("mpc"),
        every=3,
        step_size=0.1,
        ridge=0.01,
        limit=0.1,
        noise=0.1,
        lower=theta("mpc") - 1.0,
        upper=theta("mpc") + 1.0,
    ),
    "LocalIteration": lambda: call(
        learners.LocalIteration,
        mpc=made("quadratic"),
        phi=theta("quadratic"),
        rng=rng(),
        rule="critic",
        M=20,
        step_size=0.3,
        ridge=0.001,
        limit=1.0,
        exploration=0.3,
    ),
    "QuadraticMPC": lambda: call(problems.QuadraticMPC, P=np.eye(2), horizon=2),
    "QuadraticMPC.policy": lambda: call(made("quadratic").policy, phi=theta("quadratic")),
    "QuadraticMPC.omega": lambda: call(made("quadratic").omega, phi=theta("quadratic")),
    "actor_gradient": lambda: call(learners.actor_gradient, jacobian=np.ones((3, 2)), slope=np.ones(3)),
    "blend": lambda: call(learners.blend, q_learned=[1.0, 2.0], q_mpc=[2.0, 2.5], beta=0.5),
    "curvature": lambda: call(learners.curvature, jacobian=np.ones((3, 2)), Q_aa=np.ones(3)),
    "filtered": lambda: call(learners.filtered, w=S, G=np.eye(2), ridge=0.1),
    "gauss_newton_step": lambda: call(learners.gauss_newton_step, gradient=S, G=np.eye(2), ridge=0.1),
    "limited": lambda: call(learners.limited, step=S, limit=0.1),
    "local_fit": lambda: call(
        learners.local_fit, psi=np.ones((3, 2)), psi_next=np.zeros((3, 2)), td=np.ones(3), gamma=0.9, ridge=0.1
    ),
    "lstd": lambda: call(
        learners.lstd, psi=np.ones((3, 2)), psi_next=np.zeros((3, 2)), td=np.ones(3), gamma=0.9, ridge=0.1
    ),
    "lstd_q": lambda: call(
        learners.lstd_q, features=np.ones((3, 2)), features_next=np.zeros((3, 2)), cost=np.ones(3), gamma=0.9, ridge=0.1
    ),
    "mixture": lambda: call(
        learners.mixture, omega=problems.quadratic.true_omega(), F=np.ones((2, 3)), b=S, lam=0.5, H=2
    ),
    "identify": lambda: call(
        learners.identify,
        x=np.full((2, 4), 0.1),
        u=np.ones((2, 1)),
        ahead=np.full((2, 4), 0.2),
        model=envs.CartPoleParameters(),
    ),
    "with_model": lambda: call(
        problems.cartpole.with_model,
        mpc=made("cart"),
        theta=theta("cart"),
        model=envs.CartPoleParameters(),
        terminal=True,
    ),
    "bootstrap": lambda: call(statistics.bootstrap, values=[[1.0, 2.0]], rng=0, level=0.9, draws=20),
    "interval": lambda: call(statistics.interval, values=[1.0, 2.0], level=0.9),
    "difference": lambda: call(statistics.difference, one=[1.0, 2.0], other=[2.0, 2.5], level=0.9),
    "proportion": lambda: call(statistics.proportion, successes=3, trials=5, level=0.9),
    "tail": lambda: call(statistics.tail, costs=[1.0, 2.0], share=0.5),
    "decision_seconds of what a controller says": lambda: call(
        lambda controller: statistics.decision_seconds(lambda y: controller, [S, S], 1), controller=[[0.1]]
    ),
    "decision_seconds": lambda: call(statistics.decision_seconds, controller=hold, x=[S, S], warm_up=1),
    "number": lambda: call(population.number, n=3, K=2),
    "all_counts": lambda: call(population.all_counts, n=3, K=2),
    "rank": lambda: call(population.rank, c=[1, 2]),
    "unrank": lambda: call(population.unrank, r=[1, 2], n=3, K=2),
    "number_of_tables": lambda: call(population.number_of_tables, c=[1, 2], A=2),
    "all_tables": lambda: call(population.all_tables, c=[1, 2], A=2),
    "table_rank": lambda: call(population.table_rank, T=[[1, 0], [1, 1]]),
    "table_unrank": lambda: call(population.table_unrank, r=1, c=[1, 2], A=2),
    "next_law": lambda: call(population.next_law, c=[1, 2], p=[[0.5, 0.5], [0.1, 0.9]]),
    "expectations": lambda: call(population.expectations, f=np.ones((3, 1)), p=[[0.5, 0.5]], k=2),
    "sampled_expectations": lambda: call(
        population.sampled_expectations, f=np.ones((3, 1)), p=[[0.5, 0.5]], k=2, samples=3, rng=rng()
    ),
    "multinomial": lambda: call(population.multinomial, n=2, p=[0.5, 0.5]),
    "hypergeometric": lambda: call(population.hypergeometric, c=[3, 2], m=2),
    "Population": lambda: call(
        population.Population,
        P_g=[[[1.0]]],
        P_l=[[[[0.5, 0.5]]], [[[1.0, 0.0]]]],
        r_g=[[1.0]],
        r_l=[[[0.5]], [[1.0]]],
        gamma=0.9,
        start=([1.0], [[1.0]], [[0.5, 0.5]]),
    ),
    "from_functions": lambda: call(
        population.from_functions,
        global_states=[0],
        global_actions=[0],
        local_states=[0, 1],
        local_actions=[0, 1],
        global_transition=lambda s_g, a_g: 0,
        global_reward=lambda s_g, a_g: 0.5,
        local_transition=lambda s, s_g, a: {0: 0.5, 1: 0.5},
        local_reward=lambda s, s_g, a: 1.0,
        gamma=0.9,
        start=([1.0], [[1.0]], [[0.5, 0.5]]),
    ),
    "formation": lambda: call(population.formation, noise=0.2, pull=True),
    "rendezvous": lambda: call(population.rendezvous, sites=2, storm=0.1, slip=0.1, gather=0.5),
    "tie": lambda: call(population.tie),
    "plan": lambda: call(population.plan, model=made("crowd"), k=2, evaluate=True, tolerance=1e-9, sweeps=5),
    "plans": lambda: call(population.plans, model=made("crowd"), ks=[1, 2], evaluate=True, tolerance=1e-9, sweeps=5),
    "optimal_value": lambda: call(population.optimal_value, model=made("crowd"), n=2),
    "start_value": lambda: call(population.start_value, model=made("crowd"), V=np.ones((2, 3)), n=2),
    "sampled_value_iteration": lambda: call(
        population.sampled_value_iteration, model=made("crowd"), k=2, samples=2, rng=rng(), sweeps=2
    ),
    "SampledPolicy": lambda: call(
        population.SampledPolicy,
        model=made("crowd"),
        k=1,
        local=np.full((2, 1, 2, 2), 0.5),
        globally=np.ones((2, 2, 2)) / 2,
    ),
    "sampled_policy": lambda: call(population.sampled_policy, planned=made("planned"), ties="first"),
    "own_policy": lambda: call(
        population.own_policy, model=made("crowd"), k=2, act=lambda s, s_g, h: 0, lead=lambda s_g, c: 1
    ),
    "own_policy of what it says": lambda: call(
        lambda act, lead: population.own_policy(made("crowd"), 1, lambda *_: act, lambda *_: lead),
        act=0,
        lead=[0.5, 0.5],
    ),
    "deployed": lambda: call(population.deployed, policy=made("sampled"), n=3, samples="shared"),
    "deployed_value": lambda: call(population.deployed_value, policy=made("sampled"), n=3, samples="private"),
    "population.simulate": lambda: call(
        population.simulate,
        policy=made("sampled"),
        n=3,
        steps=2,
        runs=2,
        rng=0,
        samples="private",
        each=True,
        start=(0, [1, 2]),
    ),
    "parse_config": lambda: call(population.parse_config, **{"text": "{}", "kind": "json"}),
    "save_plans": lambda: call(
        lambda plans, config: population.save_plans("plans.npz", plans, config), plans=[made("planned")], config=None
    ),
}
