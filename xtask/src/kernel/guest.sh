# Runs test binaries, given below, and tells of them on the virtio port. What is told of the run itself begins
# with "guest: ".
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root RUST_BACKTRACE=0 MESH_SKIP_LOG=/run/skipped
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs run /run
ip link set lo up
exec >/dev/vport0p1 2>&1 </dev/null

seconds() {
    cut -d' ' -f1 /proc/uptime
}

# run NAME PROGRAM ARGUMENT...
run() {
    name=$1
    shift
    echo "guest: begin $name at $(seconds) s"
    : >"$MESH_SKIP_LOG"
    "$@"
    echo "guest: end $name $?"
    sed 's/^/guest: skip /' "$MESH_SKIP_LOG"
}

