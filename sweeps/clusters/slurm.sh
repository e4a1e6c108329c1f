#!/bin/bash
# A sweep as a Slurm job, on one node or several. It saves itself before its time is over or when another job takes its
# place, is requeued, and goes on.
#
#   sbatch slurm.sh methods                                         # after filling in the lines marked FILL IN
#   sbatch --nodes=4 --exclusive slurm.sh my.yaml --set name=mine   # what follows the spec is passed to `paretune run`
#   paretune status SHARED/runs/methods                             # on any machine that has the shared folder
#   paretune stop SHARED/runs/methods                               # ends the job; sbatch with the same words continues
#
# Several nodes need --exclusive: `ray symmetric-run`, which starts Ray on them, ends every Ray of yours there when it ends.
# One node needs no such thing: the Ray of `paretune run` listens on the loopback interface and is this job's alone.
#SBATCH --job-name=paretune
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8 # FILL IN
#SBATCH --gpus-per-node=1 # FILL IN: without GPUs, remove the line
#SBATCH --mem=32G # FILL IN: of each node
#SBATCH --time=04:00:00 # FILL IN: what is not done by then goes on in the same job, requeued
#SBATCH --signal=B:TERM@360
#SBATCH --requeue
#SBATCH --open-mode=append

# Runs, models and this job's token; on all nodes at the same path.
shared=$HOME/paretune # FILL IN
# Temporary files, on each node's own disk; a short path, for the sockets of Ray.
scratch=/tmp/paretune-$SLURM_JOB_ID
# The environment that Paretune is installed in.
export PATH=$shared/venv/bin:$PATH # FILL IN
# Or an image made with the Containerfile: (apptainer exec --nv --bind "$shared" "$shared/paretune.sif")
container=()

# Slurm sends the signal up to a minute late, so that this many seconds remain. A preemption gives GraceTime instead, and
# signals this script first only with SlurmctldParameters=preempt_send_user_signal; otherwise Ray's processes end at once, and
# trials go on from their last checkpoint, which is at most five minutes of training old.
export PARETUNE_NOTICE_SECONDS=${PARETUNE_NOTICE_SECONDS:-300}
export PARETUNE_HOME=$shared/home PARETUNE_SCRATCH=$scratch TMPDIR=$scratch SCRATCH=$scratch
# --resume begins a run, too, and continues the one that this job or an earlier one has begun.
run=(paretune run "$@" --resume --output "$shared/runs")

rm -rf "$scratch"
mkdir -p "$shared" && mkdir -m 700 "$scratch" || exit 1
# Where the head of several nodes leaves the exit code of the sweep; that of srun is also that of the other nodes.
export EXIT_CODE=$shared/exit-code-$SLURM_JOB_ID
rm -f "$EXIT_CODE"
trap 'rm -rf "$scratch" "$EXIT_CODE" "${RAY_AUTH_TOKEN_PATH:-}"' EXIT

if [ "$SLURM_JOB_NUM_NODES" = 1 ]; then
  "${container[@]}" "${run[@]}" &
  driver() { echo "$job"; }
else
  # The address by which the second node reaches this one, the first. No packet is sent.
  second=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 2p)
  address=$(python3 -c 'import socket, sys
found = socket.socket(type=socket.SOCK_DGRAM)
found.connect((sys.argv[1], 9))
print(found.getsockname()[0])' "$second"):$((20000 + SLURM_JOB_ID % 10000)) || exit 1
  # Whoever can read the token can run code on the nodes.
  export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$shared/token-$SLURM_JOB_ID
  (umask 077 && od -vAn -N32 -tx1 /dev/urandom | tr -d ' \n' > "$RAY_AUTH_TOKEN_PATH") || exit 1
  export RAY_memory_monitor_refresh_ms=0 RAY_USAGE_STATS_ENABLED=0
  export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300 RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0
  # Ray gets what Slurm gave the job on each node: it would count all that the machine has.
  node='
    [ -d "$SCRATCH" ] || mkdir -m 700 "$SCRATCH" || exit 1
    trap "rm -rf \"$SCRATCH\"" EXIT
    memory=$((${SLURM_MEM_PER_NODE:-0} * 1024 * 1024 / 10 * 7))
    ray symmetric-run --address "$0" --min-nodes "$SLURM_JOB_NUM_NODES" \
      --num-cpus "${SLURM_CPUS_PER_TASK:-$(nproc)}" --num-gpus "${SLURM_GPUS_ON_NODE:-0}" \
      $([ "$memory" = 0 ] || echo "--memory=$memory") --temp-dir "$SCRATCH/ray" --resources "{\"trial_driver\": 64}" \
      -- bash -c "echo \$\$ > \"\$SCRATCH/driver\"; exec \"\$@\"" driver "$@" --address "$0"
    code=$?
    [ ! -e "$SCRATCH/driver" ] || echo "$code" > "$EXIT_CODE"
    exit "$code"'
  # The other nodes would wait for a minute after this one, the head, has ended.
  srun --wait=5 ${SLURM_CPUS_PER_TASK:+--cpus-per-task="$SLURM_CPUS_PER_TASK"} \
    "${container[@]}" bash -c "$node" "$address" "${run[@]}" &
  driver() { cat "$scratch/driver" 2> /dev/null || echo "$job"; } # before it has begun: the step
fi
job=$!

# Trials save themselves; what fits into the notice, where that is too short for all of them.
trap 'signalled=yes; kill -TERM "$(driver)"' TERM
while kill -0 "$job" 2> /dev/null; do wait "$job"; done # the signal ends a wait
wait "$job"
code=$?
[ ! -e "$EXIT_CODE" ] || code=$(cat "$EXIT_CODE")

# 130: trials have saved themselves; 143: none had begun. After scancel, the job isn't running any more.
if [ "${signalled:-}" ] && [[ $code = 130 || $code = 143 ]] && [ "$(squeue -h -j "$SLURM_JOB_ID" -o %T)" = RUNNING ]; then
  echo "requeued, to go on from where the trials have saved themselves"
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
