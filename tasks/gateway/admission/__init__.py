"""The gate that every call passes: limits, budget, concurrency, breaker, limits shared between runs."""
