"""Published results made again, beside the published figures; the command is `mpcrl-course reproduce`.

`second_order`: distributed Q-learning of second order (arXiv 2511.16424). `automatica` and `power`: the two examples of
distributed Q-learning of first order (Automatica 167:111803). What they share: `runs`.
"""

from mpcrl_course.reproduce import automatica, power, second_order

__all__ = ["automatica", "power", "second_order"]
