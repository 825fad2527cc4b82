#!/bin/bash
# Make a disk of a folder with a system, as a person installs one: install.sh FOLDER IMAGE GIB FIRMWARE
#
# FIRMWARE: bios (MBR, one ext4 file system) or uefi (GPT, an EFI system partition beside it). The folder has GRUB's
# package and a kernel; this adds what depends on the disk. Runs in a separate mount namespace, so that no rig that is
# started meanwhile keeps the file system mounted.
set -euo pipefail
folder=$1 image=$2 gib=$3 firmware=$4
mount=$(mktemp -d)
loop=
clean() {
    umount -R "$mount" 2>/dev/null || true
    [ -z "$loop" ] || { partx -d "$loop" || true; losetup -d "$loop"; }
    rmdir "$mount"
}
trap clean EXIT

truncate -s "${gib}G" "$image"
if [ "$firmware" = uefi ]; then
    printf 'label: gpt\nsize=128MiB, type=uefi\ntype=linux\n' | sfdisk -q "$image"
    root=2
else
    printf 'label: dos\nstart=2048, type=83, bootable\n' | sfdisk -q "$image"
    root=1
fi
loop=$(losetup --find --show "$image")
partx -a "$loop"
device=${loop}p$root
mkfs.ext4 -q -L rig -d "$folder" "$device"
uuid=$(blkid -s UUID -o value "$device")
# There may be no udev here, and GRUB would write the loop device into its menu.
mkdir -p /dev/disk/by-uuid
ln -sfn "../../${device#/dev/}" "/dev/disk/by-uuid/$uuid"
mount "$device" "$mount"
printf 'UUID=%s / ext4 errors=remount-ro 0 1\n' "$uuid" >"$mount/etc/fstab"
if [ "$firmware" = uefi ]; then
    mkfs.vfat -n EFI "${loop}p1" >/dev/null
    mkdir -p "$mount/boot/efi"
    efi=$(blkid -s UUID -o value "${loop}p1")
    printf 'UUID=%s /boot/efi vfat umask=0077 0 2\n' "$efi" >>"$mount/etc/fstab"
fi
for name in dev proc sys; do
    mount --rbind "/$name" "$mount/$name"
    mount --make-rslave "$mount/$name"
done
chroot "$mount" /bin/bash -euo pipefail -s -- "$loop" "$firmware" "$uuid" <<'END'
if [ "$2" = bios ]; then
    grub-install --target=i386-pc "$1"
else
    # What grub-install does, without a mounted EFI system partition: this kernel may have no vfat.
    mkdir -p /boot/grub/x86_64-efi
    cp /usr/lib/grub/x86_64-efi/*.{mod,lst} /boot/grub/x86_64-efi/
    printf 'search.fs_uuid %s root\nset prefix=($root)/boot/grub\n' "$3" >/tmp/load.cfg
    grub-mkimage -O x86_64-efi -c /tmp/load.cfg -p /boot/grub -o /tmp/grubx64.efi part_gpt ext2 fat search_fs_uuid \
        normal configfile linux loadenv
fi
update-grub
END
if [ "$firmware" = uefi ]; then
    # Firmware without an entry for it boots what is at the removable disk's place.
    mmd -i "${loop}p1" ::/EFI ::/EFI/BOOT ::/EFI/debian
    for name in BOOT/BOOTX64.EFI debian/grubx64.efi; do
        mcopy -i "${loop}p1" "$mount/tmp/grubx64.efi" "::/EFI/$name"
    done
    rm "$mount/tmp/grubx64.efi" "$mount/tmp/load.cfg"
fi
rm -f "/dev/disk/by-uuid/$uuid"
