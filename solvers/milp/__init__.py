"""Linear and mixed-integer programs on plain arrays, solved in a child process."""
