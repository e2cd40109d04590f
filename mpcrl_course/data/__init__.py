"""Numbers that come with the course, and the scripts that made them; `mpcrl_course.places.data` opens the former."""
