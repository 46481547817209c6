# What a host of the lab boots from, made so that an emulated processor is soon done with it; to be sourced after lib.sh.

# The kernel inside a bzImage, which nobody then has to unpack in emulation: unpacked_kernel BZIMAGE >FILE. One that is packed in a way not known here stays as it is.
# Where it lies is told by the header of the boot protocol: setup_sects, payload_offset, payload_length. The payload's last 4 bytes are its unpacked size.
unpacked_kernel() {
    local image=$1 start length unpack=''
    start=$((($(number_at "$image" 0x1f1 1) + 1) * 512 + $(number_at "$image" 0x248 4)))
    length=$(($(number_at "$image" 0x24c 4) - 4))
    case $(od -An -tx1 -j "$start" -N 4 "$image" | tr -d ' ') in
        fd377a58) unpack=xz ;;
        28b52ffd) unpack=zstd ;;
    esac
    if [ -n "$unpack" ]; then
        dd if="$image" iflag=skip_bytes,count_bytes skip="$start" count="$length" bs=64K status=none | "$unpack" -dc
    else
        cat "$image"
    fi
}

# A number in a file, lowest byte first: number_at FILE OFFSET BYTES
number_at() { od -An -t "u$3" -j "$(($2))" -N "$3" "$1" | tr -d ' '; }

# An initramfs with what the disk and the network of a host take, and no more: Debian's own has all drivers there are. What another one adds below /own it puts on the
# disk. small_initrd ROOT >FILE
small_initrd() {
    local root=$1 version tree each name
    version=$(ls "$root/usr/lib/modules")
    tree=$(mktemp -d -p "$state")
    mkdir "$tree"/{dev,root}
    cp "$root/usr/bin/busybox" "$tree/busybox"
    # In the order in which they load; some are part of one release's kernel and not of the other's.
    for each in $(chroot "$root" modprobe --show-depends --all --set-version "$version" virtio_pci virtio_blk virtio_net crc32c_generic ext4 |
        awk '$1 == "insmod" && !seen[$2]++ { print $2 }'); do
        name=$(basename "$each" .xz)
        case $each in
            *.xz) xz -dc "$root$each" >"$tree/$name" ;;
            *) cp "$root$each" "$tree/$name" ;;
        esac
        echo "$name" >>"$tree/modules"
    done
    cat >"$tree/init" <<'END'
#!/busybox sh
b=/busybox
$b mount -t devtmpfs dev /dev
for each in $($b cat /modules); do $b insmod "/$each"; done
until [ -b /dev/vda ]; do $b sleep 1; done
$b mount -t ext4 -o noatime /dev/vda /root
$b cp -a /own/. /root/
$b mount --move /dev /root/dev
exec $b switch_root /root /sbin/init
END
    chmod +x "$tree/init"
    (cd "$tree" && find . | cpio -o -H newc --quiet)
    rm -rf "$tree"
}
