"""The optimal-control problem of each plant, a file named as its plant."""
