"""Answers to exercise 08 by someone who saw only its notebook: (item, what is done, answer)."""

import numpy as np

# ------------------------------------------------------------------------------------------------------- item 2


def _loss(
    out=lambda z, limit: limit * np.tanh(z),
    slope=lambda z, limit: limit / np.cosh(z) ** 2,
    size=lambda e: len(e),
    two=2.0,
    square=lambda e: np.sum(e**2),
    order=lambda phi, d: phi.T @ d,
):
    def cloning_loss(W, phi, u, limit):
        z = phi @ W
        e = out(z, limit) - u
        return square(e) / size(e), two * order(phi, e * slope(z, limit)) / size(e)

    return cloning_loss


def by_differences(W, phi, u, limit):
    """Take the gradient by central differences."""

    def loss(W):
        return np.mean(np.sum((limit * np.tanh(phi @ W) - u) ** 2, axis=1))

    g, h = np.zeros(W.shape), 1e-5
    for i in np.ndindex(*W.shape):
        up, down = W.copy(), W.copy()
        up[i], down[i] = W[i] + h, W[i] - h
        g[i] = (loss(up) - loss(down)) / (2 * h)
    return loss(W), g


def rough_differences(W, phi, u, limit):
    """Take it one-sided, with a step that is too large."""

    def loss(W):
        return np.mean(np.sum((limit * np.tanh(phi @ W) - u) ** 2, axis=1))

    g = np.zeros(W.shape)
    for i in np.ndindex(*W.shape):
        up = W.copy()
        up[i] += 1e-2
        g[i] = (loss(up) - loss(W)) / 1e-2
    return loss(W), g


def first_input_only(W, phi, u, limit):
    """Forget that there may be several inputs."""
    p = limit[0] * np.tanh(phi @ W[:, 0])
    e = p - u[:, 0]
    g = 2 / len(u) * phi.T @ (e * (limit[0] - p**2 / limit[0]))
    return np.mean(e**2), np.tile(g[:, None], (1, W.shape[1]))


def largest_limit(W, phi, u, limit):
    """Use one limit for all inputs."""
    return _loss()(W, phi, u, np.full(len(limit), limit.max()))


def only_the_loss(W, phi, u, limit):
    """Stop half way."""
    return _loss()(W, phi, u, limit)[0]


def gradient_first(W, phi, u, limit):
    """Return them the other way round."""
    return _loss()(W, phi, u, limit)[::-1]


def flat(W, phi, u, limit):
    """Flatten the gradient, as optimisers like it."""
    loss, g = _loss()(W, phi, u, limit)
    return loss, g.ravel()


# ------------------------------------------------------------------------------------------------------- item 3


def _dagger(
    who=lambda draws, beta, j, t: draws[j, t] < beta[j],
    ask=lambda drives, d, r: drives | (d > r),
    label=lambda teacher, u: teacher,
    apply=lambda teacher, pupil, drives: np.where(drives[:, None], teacher, pupil),
    grow=lambda old, new: np.vstack([old, *new]),
    fit_to=lambda X, new: X,
    rows=lambda x, ahead: x,
    begin=lambda starts, j, x: starts[j],
    every_step=False,
    rounds=lambda starts: range(len(starts)),
):
    def dagger(lesson, theta, starts, beta, draws, r):
        X, U, x = np.zeros((0, 2)), np.zeros((0, 1)), starts[0]
        for j in rounds(starts):
            x = begin(starts, j, x)
            new_X, new_U = [], []
            for t in range(draws.shape[1]):
                drives = who(draws, beta, j, t)
                asked = ask(drives, lesson.apart(x, X), r)
                teacher, pupil = lesson.teacher(x), lesson.act(theta, x)
                u = apply(teacher, pupil, drives)
                ahead = lesson.plant(x, u)
                new_X.append(rows(x, ahead)[asked])
                new_U.append(label(teacher, u)[asked])
                x = ahead
                if every_step:
                    X, U = grow(X, new_X[-1:]), grow(U, new_U[-1:])
                    theta = lesson.fit(X, U)
            if not every_step:
                X, U = grow(X, new_X), grow(U, new_U)
                theta = lesson.fit(fit_to(X, new_X), fit_to(U, new_U))
        return X, U, theta

    return dagger


def fresh_labels_for_all(lesson, theta, starts, beta, draws, r):
    """Label all states that were visited again, with the pupil's own after each round."""
    X, _, theta = _dagger()(lesson, theta, starts, beta, draws, r)
    return X, lesson.act(theta, X), theta


def one_run(lesson, theta, starts, beta, draws, r):
    """Drive only the first run of each round."""
    return _dagger()(lesson, theta, starts[:, :1], beta, draws[:, :, :1], r)


def whole_round_if_asked(lesson, theta, starts, beta, draws, r):
    """Ask for all runs of a step if one of them is far."""
    rule = _dagger(ask=lambda drives, d, r: np.full(len(d), (drives | (d > r)).any()))
    return rule(lesson, theta, starts, beta, draws, r)


def teacher_if_far(lesson, theta, starts, beta, draws, r):
    """Let the teacher also drive where it is asked."""
    X, U = np.zeros((0, 2)), np.zeros((0, 1))
    for j, x in enumerate(starts):
        new = [(X, U)]
        for t in range(draws.shape[1]):
            asked = (draws[j, t] < beta[j]) | (lesson.apart(x, X) > r)
            teacher = lesson.teacher(x)
            new.append((x[asked], teacher[asked]))
            x = lesson.plant(x, np.where(asked[:, None], teacher, lesson.act(theta, x)))
        X, U = (np.concatenate(part) for part in zip(*new))
        theta = lesson.fit(X, U)
    return X, U, theta


def all_states_no_labels(lesson, theta, starts, beta, draws, r):
    """Return states and labels side by side in one array."""
    X, U, theta = _dagger()(lesson, theta, starts, beta, draws, r)
    return np.hstack([X, U]), theta


def beta_squared(lesson, theta, starts, beta, draws, r):
    """Let beta fall by itself, too."""
    return _dagger(who=lambda draws, beta, j, t: draws[j, t] < beta[j] ** (j + 1))(
        lesson, theta, starts, beta, draws, r
    )


def in_lists(lesson, theta, starts, beta, draws, r):
    """Collect single rows."""
    X, U = [], []
    for j in range(len(starts)):
        x, known = np.array(starts[j]), np.array(X).reshape(-1, 2)
        for t in range(draws.shape[1]):
            near = lesson.apart(x, known)
            answer, u = lesson.teacher(x), lesson.act(theta, x)
            for i in range(len(x)):
                if draws[j, t, i] < beta[j]:
                    u[i] = answer[i]
                if draws[j, t, i] < beta[j] or near[i] > r:
                    X.append(x[i].tolist())
                    U.append(answer[i].tolist())
            x = lesson.plant(x, u)
        theta = lesson.fit(np.array(X), np.array(U))
    return {"X": np.array(X), "U": np.array(U), "theta": theta}


# ------------------------------------------------------------------------------------------------------- item 4


def _skip(
    choose=lambda q: int(q.argmin()),
    same=lambda who, by: who == by,
    first=lambda k, n: range(k - n + 1),
    weights=lambda g, n: g ** np.arange(n),
    pay=lambda L, price, by: L + price * by,
    last=lambda g, n: g**n,
    after=lambda q_next, i, n: q_next[i + n - 1],
    best=lambda row, o: row.min(),
    empty=np.nan,
):
    def skip(q, options, by_expert, cost, q_next, price, gamma):
        y = np.full((len(cost), len(options)), empty)
        for o, (who, n) in enumerate(options):
            if same(who, by_expert):
                for i in first(len(cost), n):
                    L = pay(cost[i : i + n], price, by_expert)
                    y[i, o] = np.sum(weights(gamma, len(L)) * L) + last(gamma, n) * best(after(q_next, i, n), o)
        return choose(q), y

    return skip


def as_a_list(q, options, by_expert, cost, q_next, price, gamma):
    """Return the option itself and not its number."""
    best, y = _skip()(q, options, by_expert, cost, q_next, price, gamma)
    return options[best], y


def cheapest_of_the_actor(q, options, by_expert, cost, q_next, price, gamma):
    """Choose among the options of the actor who acted."""
    who = [o for o, (who, _) in enumerate(options) if who == by_expert]
    return min(who, key=lambda o: q[o]), _skip()(q, options, by_expert, cost, q_next, price, gamma)[1]


def from_targets(q, options, by_expert, cost, q_next, price, gamma):
    """Choose by the new targets."""
    y = _skip()(q, options, by_expert, cost, q_next, price, gamma)[1]
    return int(np.nanargmin(np.where(np.isnan(y[0]), np.inf, y[0]))), y


def value_of_the_same_actor(q, options, by_expert, cost, q_next, price, gamma):
    """Go on with the cheapest option of the same actor."""
    mask = np.array([who == by_expert for who, _ in options])
    return _skip(best=lambda row, o: row[mask].min())(q, options, by_expert, cost, q_next, price, gamma)


def gamma_counted_twice(q, options, by_expert, cost, q_next, price, gamma):
    """Back up from the end, and discount once too often."""
    y = np.full((len(cost), len(options)), np.nan)
    for o, (who, n) in enumerate(options):
        for i in range(len(cost) - n + 1):
            if who == by_expert:
                total = gamma * q_next[i + n - 1].min()
                for L in cost[i : i + n][::-1] + price * by_expert:
                    total = L + gamma * total
                y[i, o] = total
    return q.argmin(), y


def one_based(q, options, by_expert, cost, q_next, price, gamma):
    """Count options from 1."""
    best, y = _skip()(q, options, by_expert, cost, q_next, price, gamma)
    return best + 1, y


def by_convolution(q, options, by_expert, cost, q_next, price, gamma):
    """Use np.convolve for the windows."""
    k, paid = len(cost), np.asarray(cost) + (price if by_expert else 0.0)
    y = np.full((k, len(options)), np.nan)
    for o, (who, n) in enumerate(options):
        if who == by_expert and n <= k:
            sums = np.convolve(paid, gamma ** np.arange(n)[::-1], "valid")
            y[: k - n + 1, o] = sums + gamma**n * q_next[n - 1 :].min(axis=1)
    return int(np.argmin(q)), y


# ------------------------------------------------------------------------------------------------------- item 5


def _teach(
    drive=lambda teacher, pupil, j: pupil,
    say=lambda teacher, pupil: teacher,
    keep=lambda old, new: np.concatenate([old, new]),
    fit=lambda X, new: X,
):
    def teach(lesson, starts, steps):
        X, U, pupil = np.empty((0, 2)), np.empty((0, 1)), lesson.teacher
        for j, x in enumerate(starts):
            visited = []
            for _ in range(steps):
                visited.append(x)
                x = lesson.plant(x, drive(lesson.teacher, pupil, j)(x))
            states = np.concatenate(visited)
            labels = say(lesson.teacher, pupil)(states)
            X, U = keep(X, states), keep(U, labels)
            theta = lesson.fit(fit(X, states), fit(U, labels))
            pupil = lambda y, theta=theta: lesson.act(theta, y)  # noqa: E731
        return theta, X, U

    return teach


def alternating(lesson, starts, steps):
    """Let the teacher drive every second round."""
    return _teach(drive=lambda teacher, pupil, j: teacher if j % 2 == 0 else pupil)(lesson, starts, steps)


def relabelled(lesson, starts, steps):
    """Ask the pupil for the old labels and the teacher for the new ones."""
    X, U, pupil = np.empty((0, 2)), np.empty((0, 1)), lesson.teacher
    for x in starts:
        visited = []
        for _ in range(steps):
            visited.append(x)
            x = lesson.plant(x, pupil(x))
        old, X = X, np.concatenate([X, *visited])
        U = np.concatenate([pupil(old), lesson.teacher(np.concatenate(visited))])
        theta = lesson.fit(X, U)
        pupil = lambda y, theta=theta: lesson.act(theta, y)  # noqa: E731
    return theta, X, U


def only_fitted(lesson, starts, steps):
    """Fit to the mean of the weights of all rounds."""
    found, X, U = [], np.empty((0, 2)), np.empty((0, 1))
    for x in starts:
        visited = []
        for _ in range(steps):
            visited.append(x)
            x = lesson.plant(x, lesson.act(np.mean(found, axis=0), x) if found else lesson.teacher(x))
        states = np.concatenate(visited)
        X, U = np.concatenate([X, states]), np.concatenate([U, lesson.teacher(states)])
        found.append(lesson.fit(states, lesson.teacher(states)))
    return np.mean(found, axis=0), X, U


def without_fit(lesson, starts, steps):
    """Forget to make the new pupil from the new weights."""
    X, U = np.empty((0, 2)), np.empty((0, 1))
    for x in starts:
        for _ in range(steps):
            X, U = np.concatenate([X, x]), np.concatenate([U, lesson.teacher(x)])
            x = lesson.plant(x, lesson.teacher(x))
    return lesson.fit(X, U), X, U


def asked_at_the_end(lesson, starts, steps):
    """Append the state after the step."""
    X, U, pupil = np.empty((0, 2)), np.empty((0, 1)), lesson.teacher
    for x in starts:
        visited = []
        for _ in range(steps):
            x = lesson.plant(x, pupil(x))
            visited.append(x)
        X = np.concatenate([X, *visited])
        U = np.concatenate([U, lesson.teacher(np.concatenate(visited))])
        theta = lesson.fit(X, U)
        pupil = lambda y, theta=theta: lesson.act(theta, y)  # noqa: E731
    return theta, X, U


# ------------------------------------------------------------------------------------------------------- item 6

_rng = np.random.default_rng(80)


def _grid(nq, nv, v):
    q, w = np.meshgrid(np.linspace(-np.pi, np.pi, nq, endpoint=False), np.linspace(-v, v, nv))
    return np.column_stack([q.ravel(), w.ravel()])


WRONG = [
    (1, "edge", 0.6),
    (1, "limit of the actuator", 4),
    (1, "the last torque", "0.51"),
    (1, "one step", 0.888),
    (1, "never fails", np.inf),
    (1, "everywhere up to ten", 12.0),
    (1, "growth for surplus", 0.408),
    (1, "twice the edge", 1.2),
    (1, "fast", 2.4),
    (2, "mean of everything", _loss(size=lambda e: e.size)),
    (2, "sum", _loss(size=lambda e: 1)),
    (2, "two lost", _loss(two=1.0)),
    (2, "minus", _loss(two=-2.0)),
    (2, "slope of tanh without limit", _loss(slope=lambda z, limit: 1 / np.cosh(z) ** 2)),
    (2, "sech once", _loss(slope=lambda z, limit: limit / np.cosh(z))),
    (2, "no slope", _loss(slope=lambda z, limit: 1.0)),
    (2, "slope at the output", _loss(slope=lambda z, limit: limit * (1 - np.tanh(limit * np.tanh(z)) ** 2))),
    (2, "clip", _loss(out=lambda z, limit: np.clip(z, -limit, limit), slope=lambda z, limit: 1.0 * (abs(z) < limit))),
    (2, "linear", _loss(out=lambda z, limit: z, slope=lambda z, limit: 1.0)),
    (2, "squashed twice", _loss(out=lambda z, limit: limit * np.tanh(np.tanh(z)))),
    (2, "l1", _loss(square=lambda e: np.abs(e).sum())),
    (2, "one-sided differences", rough_differences),
    (2, "first input", first_input_only),
    (2, "largest limit", largest_limit),
    (2, "loss alone", only_the_loss),
    (2, "gradient first", gradient_first),
    (2, "flattened", flat),
    (2, "mean of the gradient", _loss(order=lambda phi, d: phi.mean(axis=0)[:, None] * d.sum(axis=0))),
    (3, "what was applied", _dagger(label=lambda teacher, u: u)),
    (3, "newest only", _dagger(grow=lambda old, new: np.vstack(new))),
    (3, "fit to the newest", _dagger(fit_to=lambda X, new: np.vstack(new))),
    (3, "teacher always", _dagger(apply=lambda teacher, pupil, drives: teacher)),
    (3, "pupil always", _dagger(apply=lambda teacher, pupil, drives: pupil)),
    (3, "ask when it drives", _dagger(ask=lambda drives, d, r: drives)),
    (3, "ask always", _dagger(ask=lambda drives, d, r: d > -1)),
    (3, "ask when near", _dagger(ask=lambda drives, d, r: drives | (d < r))),
    (3, "ask when far and pupil drives", _dagger(ask=lambda drives, d, r: ~drives & (d > r))),
    (3, "next states", _dagger(rows=lambda x, ahead: ahead)),
    (3, "go on", _dagger(begin=lambda starts, j, x: x)),
    (3, "fit in each step", _dagger(every_step=True)),
    (3, "lot the wrong way", _dagger(who=lambda draws, beta, j, t: draws[j, t] >= beta[j])),
    (
        3,
        "mixture",
        lambda lesson, theta, starts, beta, draws, r: _dagger(
            apply=lambda teacher, pupil, drives: beta[0] * teacher + (1 - beta[0]) * pupil
        )(lesson, theta, starts, beta, draws, r),
    ),
    (3, "last round missing", _dagger(rounds=lambda starts: range(len(starts) - 1))),
    (3, "labels of the last pupil", fresh_labels_for_all),
    (3, "first run", one_run),
    (3, "all if one", whole_round_if_asked),
    (3, "teacher drives where asked", teacher_if_far),
    (3, "one array", all_states_no_labels),
    (3, "beta to the j", beta_squared),
    (3, "draws of the first step", _dagger(who=lambda draws, beta, j, t: draws[j, 0] < beta[j])),
    (3, "one beta", _dagger(who=lambda draws, beta, j, t: draws[j, t] < beta.mean())),
    (4, "argmax", _skip(choose=lambda q: int(q.argmax()))),
    (4, "value", _skip(choose=lambda q: q.min())),
    (4, "the option", as_a_list),
    (4, "from one", one_based),
    (4, "actor's own", cheapest_of_the_actor),
    (4, "by targets", from_targets),
    (4, "max", _skip(best=lambda row, o: row.max())),
    (4, "own value", _skip(best=lambda row, o: row[o])),
    (4, "actor's own value", value_of_the_same_actor),
    (4, "one late", _skip(first=lambda k, n: range(k - n), after=lambda q, i, n: q[i + n])),
    (4, "first row", _skip(after=lambda q, i, n: q[i])),
    (4, "no price", _skip(pay=lambda L, price, by: L)),
    (4, "price always", _skip(pay=lambda L, price, by: L + price)),
    (4, "price the other way", _skip(pay=lambda L, price, by: L + price * (1 - by))),
    (4, "price at the end", _skip(pay=lambda L, price, by: L + price * by * (np.arange(len(L)) == len(L) - 1))),
    (4, "no discount", _skip(weights=lambda g, n: np.ones(n), last=lambda g, n: 1.0)),
    (4, "discount of the tail", _skip(last=lambda g, n: g)),
    (4, "twice", gamma_counted_twice),
    (4, "all actors", _skip(same=lambda who, by: True)),
    (4, "zeros", _skip(empty=0.0)),
    (4, "one window", _skip(first=lambda k, n: range(min(1, max(0, k - n + 1))))),
    (5, "labels only", _teach(drive=lambda teacher, pupil, j: teacher, keep=lambda old, new: new)),
    (5, "states only", _teach(say=lambda teacher, pupil: pupil, keep=lambda old, new: new)),
    (5, "aggregate only", _teach(drive=lambda teacher, pupil, j: teacher, say=lambda teacher, pupil: pupil)),
    (5, "labels left", _teach(say=lambda teacher, pupil: pupil)),
    (5, "aggregate left", _teach(keep=lambda old, new: new)),
    (5, "states left", _teach(drive=lambda teacher, pupil, j: teacher)),
    (5, "fit to the newest", _teach(fit=lambda X, new: new)),
    (5, "every second round", alternating),
    (5, "relabelled", relabelled),
    (5, "mean of the weights", only_fitted),
    (5, "cloning", without_fit),
    (5, "state after", asked_at_the_end),
    (6, "a grid", _grid(25, 20, 8.0)),
    (6, "a fine grid", _grid(50, 10, 5.0)),
    (6, "random", _rng.uniform([-np.pi, -8], [np.pi, 8], (500, 2))),
    (6, "slow", _rng.uniform([-np.pi, -1], [np.pi, 1], (500, 2))),
    (6, "normal", _rng.normal(size=(500, 2)) * [1.5, 2.5]),
    (6, "top", _rng.normal(size=(500, 2)) * [0.2, 0.4]),
    (6, "bottom", _rng.normal(size=(500, 2)) * [0.5, 2.0] + [np.pi, 0]),
    (6, "circle", np.column_stack([np.linspace(-np.pi, np.pi, 500), 4 * np.sin(np.linspace(0, 20, 500))])),
    (6, "ten states", _rng.uniform([-np.pi, -4], [np.pi, 4], (10, 2))),
    (6, "too many", _grid(30, 20, 6.0)),
    (6, "with labels", np.zeros((500, 3))),
    (6, "a generator", "np.random"),
    (6, "angles alone", np.linspace(-np.pi, np.pi, 500)),
    (7, "more data", ("a", [1])),
    (7, "ceiling", ("e", [4])),
    (7, "all that is true", ("b", [1, 3, 4, 5])),
    (7, "width", ("b", [1, 2])),
    (7, "one reason", ("b", 1)),
    (7, "cloning, too", ("b", "1, 6")),
    (7, "off the path", ("c", [1, 5])),
]

RIGHT = [
    (1, "a fraction", "51/25"),
    (1, "a comma", "2,04"),
    (1, "rounded the other way", 2.045),
    (2, "cosh", _loss()),
    (2, "differences", by_differences),
    (3, "where", _dagger()),
    (3, "rows", in_lists),
    (4, "sums", _skip()),
    (4, "convolution", by_convolution),
    (5, "three lines", _teach()),
    (7, "in words", ("B", "1, 3 and 5")),
]
