"""What lets jobs go on, and when: the scheduler, the poller, circuit breakers, budgets, slots."""
