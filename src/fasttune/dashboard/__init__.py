"""A local page that follows experiments: ``fasttune dashboard``.

The parts, from below: ``shelf`` opens experiments and knows whether they have changed; ``progress``, ``trial_sheet`` and
``figures`` say what a page shows, as values that JSON has; ``question`` is what it asks, ``answers`` asks it of them, in the
threads of ``lanes``; ``guard`` lets nobody else ask; ``app`` and ``server`` are the web server. Nothing here writes into an
experiment's folder, but for requests to stop, and those only if the dashboard was started for it.
"""
