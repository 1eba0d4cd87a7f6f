"""The machine: records are folded into a state, the state says what to do, the loop does it."""
