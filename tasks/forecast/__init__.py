"""Cost before it is paid: counting, statistics, estimates, and how accurate they were."""
