# see docs/architecture.md
