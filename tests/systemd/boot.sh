#!/bin/sh
# PID 1 of a machine of its own, for tests: a real systemd in namespaces, on an overlay of this host's root.
# Started by machine.py inside `unshare --pid --mount --uts --ipc --cgroup --net --fork`. Argument: the directory whose
# `etc` is laid over /etc, whose `share` is /run/share inside, and on whose `root` the machine's root is built.
set -e
D=$1
HERE=$(dirname "$0")
mount -t tmpfs -o mode=755,size=2g machine "$D/root"
cd "$D/root"
mkdir upper work root
mount -t overlay overlay -o "lowerdir=/,upperdir=$PWD/upper,workdir=$PWD/work" root
R=$PWD/root

# Nothing that this host has enabled may start, nor what would need its hardware.
rm -rf "$R"/etc/systemd/system/*.wants
for unit in $(cat "$HERE/masked.txt"); do
    ln -sfn /dev/null "$R/etc/systemd/system/$unit"
done
: > "$R/etc/machine-id"
rm -f "$R/etc/fstab"
: > "$R/etc/fstab"
cp -a "$D/etc/." "$R/etc/"

mount -t proc proc "$R/proc"
mount -t sysfs sysfs "$R/sys"
mount -t cgroup2 cgroup2 "$R/sys/fs/cgroup"
mount -o remount,bind,ro "$R/sys"
mount -t tmpfs -o mode=755 tmpfs "$R/dev"
for device in null zero full random urandom tty; do
    : > "$R/dev/$device"
    mount --bind "/dev/$device" "$R/dev/$device"
done
mkdir "$R/dev/pts" "$R/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$R/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$R/dev/shm"
ln -s pts/ptmx "$R/dev/ptmx"
ln -s /proc/self/fd "$R/dev/fd"
ln -s /proc/self/fd/0 "$R/dev/stdin"
ln -s /proc/self/fd/1 "$R/dev/stdout"
ln -s /proc/self/fd/2 "$R/dev/stderr"
mount -t tmpfs -o mode=755 tmpfs "$R/run"
mount -t tmpfs -o mode=1777 tmpfs "$R/tmp"
mkdir "$R/run/share"
mount --bind "$D/share" "$R/run/share"
hostname machine
ip link set lo up

cd "$R"
mkdir .old
pivot_root . .old
umount -l /.old
rmdir /.old
# Shared, as on a booted machine: credentials reach a service by mount propagation.
mount --make-rshared /
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=test.target --show-status=0
