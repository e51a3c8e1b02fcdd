#!/usr/bin/env bash
# Each point of a sweep as a job of its own, by train.sbatch:
#   slurm/sweep.sh experiment=openflam shards=/data/shards seed=0,1,2 optim.lr=1e-4,3e-4
#   slurm/sweep.sh --nodes=2 --time=4:00:00 experiment=openflam ...      # options of sbatch; --conf=FOLDER is flam-train's
# The same line again submits what is missing: points that are done, and those that are in the queue, are left out.
# A job whose time is up puts itself back into the queue, as any run does. What to edit: the line marked <-- .
set -euo pipefail
source .venv/bin/activate           # <-- your environment

options=() line=()
for word in "$@"; do
    case $word in
        --conf=* | [!-]*) line+=("$word") ;;
        *) options+=("$word") ;;
    esac
done

# A line each: the job's name, then its arguments, quoted for a shell.
points=$(python -m flam_train.cli.train -m --points "${line[@]}")
queued=$(squeue --noheader --user="$(id -un)" --format=%j)

while IFS= read -r quoted; do
    eval "point=($quoted)"
    name=${point[0]}
    if grep -qxF -- "$name" <<<"$queued"; then
        echo "$name: is in the queue"
    else
        job=$(sbatch --parsable "${options[@]}" --job-name="$name" slurm/train.sbatch "${point[@]:1}")
        echo "$name: job $job"
    fi
done < <(printf '%s' "${points:+$points$'\n'}")
