"""The keys that results may have, under the names that Ray Tune gives them; ``fasttune.result`` has them too."""

DEFAULT_METRIC = "_metric"  # what a bare number is called

# Filled in by fasttune, unless a trial reports them itself.
DONE = "done"
TRAINING_ITERATION = "training_iteration"
TRIAL_ID = "trial_id"
PID = "pid"
HOSTNAME = "hostname"
NODE_IP = "node_ip"
TIME_THIS_ITER_S = "time_this_iter_s"
TIME_TOTAL_S = "time_total_s"
EXPERIMENT_TAG = "experiment_tag"

# Reported by trials; totals are added up from what is "this iter".
TIMESTEPS_THIS_ITER = "timesteps_this_iter"
TIMESTEPS_TOTAL = "timesteps_total"
EPISODES_THIS_ITER = "episodes_this_iter"
EPISODES_TOTAL = "episodes_total"
EPISODE_REWARD_MEAN = "episode_reward_mean"
MEAN_LOSS = "mean_loss"
NEG_MEAN_LOSS = "neg_mean_loss"
MEAN_ACCURACY = "mean_accuracy"

# What a trial has used of its worker, if that is measured (``measure_usage=True``).
PEAK_MEMORY = "peak_memory_bytes"
CPU_SECONDS = "cpu_seconds"
PEAK_GPU_MEMORY = "peak_gpu_memory_bytes"
GPU_UTILIZATION = "gpu_utilization"

# About checkpoints.
SHOULD_CHECKPOINT = "should_checkpoint"  # a class Trainable, or a callback, asks for one
CHECKPOINT_DIR_NAME = "checkpoint_dir_name"

# Files in a trial's folder.
EXPR_PARAM_FILE = "params.json"
EXPR_RESULT_FILE = "result.json"
EXPR_PROGRESS_FILE = "progress.csv"
EXPR_ERROR_FILE = "error.txt"

DEFAULT_RESULT_KEYS = (TRAINING_ITERATION, TIME_TOTAL_S, MEAN_ACCURACY, MEAN_LOSS)
