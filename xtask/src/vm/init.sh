#!/bin/sh
# The guest's first process: mounts, loads modules, runs the tests, prints their exit status on a line, powers off.
export PATH=/bin:/sbin RUST_BACKTRACE=0
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
# The test binaries may be below /tmp.
for inside in /tmp/*; do
    [ -e "$inside" ] || mount -t tmpfs tmpfs /tmp
    break
done
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
ln -sf /proc/self/fd /dev/fd
ip link set lo up
while read -r module; do
    modprobe "$module" || echo "vm: no module $module"
done </etc/modules
echo 3 >/proc/sys/kernel/printk
echo "vm: ready"
while IFS= read -r argument; do
    set -- "$@" "$argument"
done </etc/arguments
/test "$@"
echo "vm: status $?"
echo o >/proc/sysrq-trigger
sleep 60
