"""One execution of a job, from the opened output to the written manifest."""
