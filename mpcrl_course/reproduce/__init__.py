"""Published results made again, beside the published figures; the command is `mpcrl-course reproduce`.

`second_order`: second-order distributed Q-learning (arXiv 2511.16424). What a reproduction shares with others: `runs`.
"""
