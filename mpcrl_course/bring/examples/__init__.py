"""Plants as readers write them: the template of `mpcrl-course new-plant`, and two more."""
