"""Jobs: plain functions of (dependencies, request id). Each may run any number of times, anywhere, at once."""
