#!/usr/bin/env bash
# A real SLURM of two nodes, n1 and n2, on this one machine, to try the sbatch files on:
#   slurm/local_cluster.sh start        # then the two `export` lines that it prints
#   slurm/local_cluster.sh status | stop
# Everything lies in one folder, FLAM_SLURM_DIR (work/slurm), with a munge and ports of its own, and is gone after `stop`.
# Needs the packages slurm-wlm and munge; root installs them (apt), the cluster itself runs as any user.
set -euo pipefail

dir=${FLAM_SLURM_DIR:-$(cd "$(dirname "$0")/.." && realpath -m work/slurm)}
export SLURM_CONF=$dir/slurm.conf PATH=$PATH:/usr/sbin:/sbin
say() { echo "local_cluster: $*" >&2; }
fail() { say "$@"; exit 1; }
cannot() { say "$@"; exit 77; } # what this machine lacks, as tests that are skipped tell it

# The pids of those of its daemons that live: a number in an old file may be another process by now.
daemons() {
    local file pid
    for file in "$dir"/{slurmctld,n1,n2,munged}.pid; do
        pid=$(cat "$file" 2>/dev/null) || continue
        case $(ps -o comm= -p "$pid" || true) in *defunct*) ;; slurm* | munge*) echo "$pid" ;; esac
    done
}

running() { [ "$(daemons | wc -l)" = 4 ] && [ "$(sinfo -h -N -o %N -t idle,mixed,alloc,comp | sort -u | wc -l)" = 2 ]; }

packages() {
    command -v slurmctld >/dev/null && command -v slurmd >/dev/null && command -v munged >/dev/null && return
    local want="apt-get install slurm-wlm munge"
    [ "$(id -u)" = 0 ] || cannot "slurmctld, slurmd or munged is missing, and only root can install them: $want"
    command -v apt-get >/dev/null || cannot "slurmctld, slurmd or munged is missing, and there is no apt-get here: install SLURM and munge"
    say "installing slurm-wlm and munge ..."
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq slurm-wlm munge; } >/dev/null 2>&1 \
        || cannot "these packages could not be installed, see: $want"
}

# So many ports that nobody listens on.
free_ports() {
    local port found=()
    for port in $(shuf -i 20000-29999 -n 100); do
        (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || found+=("$port")
        [ ${#found[@]} -lt "$1" ] || break
    done
    echo "${found[@]}"
}

start() {
    if running; then
        say "runs already in $dir"
        settings
        return
    fi
    [ ! -e /etc/slurm/slurm.conf ] || [ -n "${FLAM_SLURM_FORCE:-}" ] \
        || cannot "this machine has a SLURM (/etc/slurm/slurm.conf): try the sbatch files on that one, or start a second one beside it: FLAM_SLURM_FORCE=1"
    [ ${#dir} -le 80 ] || fail "$dir: too long a path for a socket: set FLAM_SLURM_DIR to a shorter one"
    packages
    stop
    mkdir -p "$dir"/{state,log,spool-n1,spool-n2}
    chmod 755 "$dir"
    (umask 077 && head -c 1024 /dev/urandom >"$dir/munge.key")
    # --force: it would refuse a folder below one that others may write to, as those for temporary files are.
    munged --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" --pid-file="$dir/munged.pid" \
        --log-file="$dir/log/munged.log" --seed-file="$dir/munge.seed" 2>"$dir/log/munged.err" \
        || fail "munged does not start: $(tail -n 1 "$dir/log/munged.err")"
    # shellcheck disable=SC2046  # three words
    write_conf $(free_ports 3)
    slurmctld -f "$SLURM_CONF" || fail "slurmctld does not start: see $dir/log/slurmctld.log"
    for node in n1 n2; do
        slurmd -f "$SLURM_CONF" -N "$node" || fail "slurmd does not start: see $dir/log/$node.log"
    done
    for _ in $(seq 60); do
        if running; then
            settings
            return
        fi
        sleep 0.5
    done
    sinfo --list-reasons >&2 || true
    fail "the nodes are not ready after 30 s: see $dir/log"
}

# ports: of the controller and of the two nodes. A node has four cores and two GPUs that can be asked for, whatever is
# there: so the sbatch files' own lines can be tried. The jobs see no GPU (SLURM gives them an empty CUDA_VISIBLE_DEVICES).
write_conf() {
    local user host memory
    user=$(id -un) host=$(hostname -s) memory=$(($(awk '/MemTotal/ {print $2}' /proc/meminfo) / 1024))
    touch "$dir"/gpu{0,1}
    echo "Name=gpu File=$dir/gpu[0-1]" >"$dir/gres.conf"
    cat >"$SLURM_CONF" <<END
ClusterName=local
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$1
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
GresTypes=gpu
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool-%n
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/%n.log
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/%n.pid
ReturnToService=2
KillWait=30
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$2 CPUs=4 RealMemory=$memory Gres=gpu:2
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$3 CPUs=4 RealMemory=$memory Gres=gpu:2
PartitionName=debug Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
END
}

# n1 and n2 are names of nodes and no addresses: where the processes meet must be said.
settings() {
    echo "export SLURM_CONF=$SLURM_CONF"
    echo "export MASTER_ADDR=127.0.0.1"
}

stop() {
    [ -d "$dir" ] || return 0
    local pid
    if running; then
        # Not only their batch scripts; they have as long as SLURM gives them anywhere.
        scancel --user="$(id -un)"
        for _ in $(seq 80); do
            [ -n "$(squeue -h)" ] || break
            sleep 0.5
        done
    fi
    for pid in $(daemons); do kill "$pid" || true; done
    for _ in $(seq 100); do
        [ -n "$(daemons)" ] || break
        sleep 0.1
    done
    # Only what `start` has written: the folder may hold more.
    rm -rf "$dir"/{state,log,spool-n1,spool-n2} "$dir"/{slurm,gres}.conf "$dir"/gpu{0,1} "$dir"/munge.* "$dir"/*.pid
    rmdir --ignore-fail-on-non-empty "$dir"
}

status() {
    running || fail "does not run in $dir"
    sinfo
    squeue
    settings
}

case ${1:-} in
    start | stop | status) "$1" ;;
    *) fail "start, stop or status?" ;;
esac
