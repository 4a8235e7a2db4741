#!/bin/busybox sh
# Makes the host's root the guest's, with a layer in memory over it, and goes on with guest.sh there.
set -e
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t devtmpfs dev /dev
while read -r module; do $b insmod "/modules/$module.ko"; done </modules/order
$b mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=512000 host /lower
$b mount -t tmpfs upper /upper
$b mkdir /upper/files /upper/work
$b mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work root /root
$b cp /guest.sh /root/mesh-guest.sh
$b umount /proc
$b mount --move /dev /root/dev
exec $b switch_root -c /dev/console /root /bin/sh /mesh-guest.sh
