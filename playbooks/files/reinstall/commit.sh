# Remove the old system: commit.sh. The new one stays in its folder, with all room of the disk.
#
# GRUB's modules and its environment stay where the boot sector looks for them; its menu has the new system alone.
open_whole
[ -n "$running" ] || refuse "this is the old system"
boot=$(mount_boot) || refuse "the partition of /boot can't be mounted"
grep -q "^  set default=${running#/}$" "$boot/custom.cfg" || refuse "the new system is not the default yet"
old=$(sed -n 's/^old=//p' /etc/deeprig/reinstall)
before=$(df -Pk "$WHOLE" | awk 'NR == 2 { print $4 }')

if [ -n "$old" ]; then
    rm -rf --one-file-system "${WHOLE:?}$old" || refuse "$old can't be removed"
else
    # First, GRUB must not need what is removed then.
    grep -q '^# By deeprig' "$boot/grub.cfg" || replace "$boot/grub.cfg" <<'END'
# By deeprig: the menu is in custom.cfg.
if [ -s $prefix/grubenv ]; then
  load_env
fi
if [ "${next_entry}" ]; then
  set default="${next_entry}"
  set next_entry=
  save_env next_entry
  set boot_once=true
fi
if [ -f $prefix/custom.cfg ]; then
  source $prefix/custom.cfg
fi
set timeout=1
END
    for path in "$WHOLE"/* "$WHOLE"/.[!.]*; do
        case ${path#"$WHOLE"} in
        "$running" | /boot | /lost+found | '/*' | '/.[!.]*') continue ;;
        esac
        rm -rf --one-file-system "$path" || refuse "$path can't be removed"
    done
    for path in "$WHOLE"/boot/* "$WHOLE"/boot/.[!.]* "${boot%/grub}"/*; do
        case ${path##*/} in
        grub | efi | lost+found | '*' | '.[!.]*') continue ;;
        esac
        rm -rf --one-file-system "$path"
    done
fi
sed -i 's/^old=.*/old=-/' /etc/deeprig/reinstall
sync
after=$(df -Pk "$WHOLE" | awk 'NR == 2 { print $4 }')
echo "freed $(((after - before) / 1024)) MiB"
