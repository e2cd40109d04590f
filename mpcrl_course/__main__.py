"""`python -m mpcrl_course` is `mpcrl-course`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
