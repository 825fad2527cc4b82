# The steps of a restore. compare.sh and homes.sh come before this file.

report() { echo "$verb: $1"; }

report_lines() { # WORD: report each line that is read
    while IFS= read -r line; do report "$1$line"; done
}

count() { grep -c . "$1"; }

extract() { # the archive's files that differ ($work/paths): with their folders, owners and modes
    grep -v '^home/' "$work/paths" >"$work/list"
    [ ! -s "$work/list" ] || tar --extract --file before.tar.gz --directory / --numeric-owner --no-recursion \
        --preserve-permissions --files-from="$work/list" 2>"$work/error" || head -n 5 "$work/error"
    for user in $(home_users <"$work/paths"); do
        [ -d "/home/$user" ] || continue
        grep -F "home/$user/" "$work/paths" >"$work/list"
        gzip -dc before.tar.gz | in_home "$user" tar --extract --directory / --numeric-owner --no-recursion \
            --preserve-permissions --files-from=/work/list 2>"$work/error" || head -n 5 "$work/error"
    done
}

change_units() { # read what unit_changes prints
    while read -r action unit; do
        case $action in
        enable) systemctl --quiet unmask "$unit" && systemctl --quiet enable "$unit" ;;
        *) systemctl --quiet "$action" "$unit" ;;
        esac 2>/dev/null
        echo "$unit"
    done
}

settle_units() { # print each unit whose state is changed to that of then
    added_links | sed 's,^,/,' | tee "$work/links" | while IFS= read -r link; do rm -f -- "$link"; done
    sed 's,.*/,,' "$work/links"
    systemctl daemon-reload
    units_now >"$work/now"
    unit_changes units.txt "$work/now" | change_units
    # A unit whose mask went may have another state than then.
    units_now >"$work/now"
    unit_changes units.txt "$work/now" | change_units
    systemctl daemon-reload
}

# Print kind, name and restart policy of each container: of Docker's, from its own files.
container_policies() {
    for file in /var/lib/docker/containers/*/config.v2.json; do
        [ -e "$file" ] || continue
        name=$(sed -n 's,.*"Name": *"/\([^"]*\)".*,\1,p' "$file" | head -n 1)
        policy=$(sed -n 's/.*"RestartPolicy": *{ *"Name": *"\([^"]*\)".*/\1/p' "${file%/*}/hostconfig.json" |
            head -n 1)
        echo "docker $name ${policy:-no}"
    done
    command -v podman >/dev/null || return 0
    podman ps --all --format '{{.Names}} {{.ID}}' 2>/dev/null | while read -r name id; do
        policy=$(podman inspect --format '{{.HostConfig.RestartPolicy.Name}}' "$id" 2>/dev/null)
        echo "podman $name ${policy:-no}"
    done
}

container_changes() { # print kind, name and policy of then of each container that has another policy now
    [ -s containers.txt ] || return 0
    container_policies >"$work/containers"
    awk 'FNR == NR { now[$1, $2] = $3; next } ($1, $2) in now && now[$1, $2] != $3' \
        "$work/containers" containers.txt
}

rebuild_boot_files() { # print what is built again: what lies in it is older than its settings
    for image in /boot/initrd.img-*; do
        [ -e "$image" ] || continue
        newer=$(find /etc/modprobe.d /etc/initramfs-tools -cnewer "$image" 2>/dev/null | head -n 1)
        [ -z "$newer" ] || { update-initramfs -u -k all >"$work/error" 2>&1 && echo "$image"; }
        break
    done
    [ -e /boot/grub/grub.cfg ] || return 0
    newer=$(find /etc/default/grub /etc/default/grub.d /etc/grub.d -cnewer /boot/grub/grub.cfg 2>/dev/null |
        head -n 1)
    [ -z "$newer$(missing_arguments)" ] || { update-grub >"$work/error" 2>&1 && echo /boot/grub/grub.cfg; }
}

# Print the units that ran then, do not now, and start without the mining system's.
stopped_units() {
    [ -e running.txt ] || return 0
    touch "$work/none"
    starters=starters.txt
    [ -e "$starters" ] || starters=$work/none
    grep -Fxv -f "$starters" running.txt | while IFS= read -r unit; do
        systemctl --quiet is-active "$unit" && continue
        # Its package may not be installed any more.
        state=$(systemctl show --property=LoadState,ConditionResult,ConditionTimestampMonotonic "$unit")
        case $state in
        *LoadState=loaded*ConditionTimestampMonotonic=0* | *ConditionTimestampMonotonic=0*LoadState=loaded*) echo "$unit" ;;
        # Since the boot systemd has passed over it: ldconfig.service is for a system that was just updated.
        *ConditionResult=no*) ;;
        *LoadState=loaded*) echo "$unit" ;;
        esac
    done
}

# Print what the rig lacks of the backup.
remaining() {
    differences | awk -F '\t' '{ print "/" $1 ": " $2 }'
    put_all_back check | sed 's/$/: still put aside/'
    keys_again check | sed 's/$/: lacks keys/'
    missing_packages | sed 's/$/: not installed/'
    units_now >"$work/now"
    unit_changes units.txt "$work/now" | while read -r action unit; do echo "$unit: not back ($action)"; done
    added_links | sed 's,^\(.*\)$,/\1: not there then,'
    held_then | sed 's/$/: not held/'
    container_changes | while read -r _ name policy; do echo "container $name: restart policy is not $policy"; done
    missing_arguments | sed 's/$/: not in the boot menu/'
    unmounted | sed 's/$/: not mounted/'
    stopped_units | sed 's/$/: does not run/'
}

predict() {
    put_all_back check >"$work/aside"
    differences | cut -f 1 | sort -u | sed 's,^,/,' >"$work/changed"
    # What a folder brings along is not listed again.
    awk 'FNR == NR { whole[$0] = 1; next }
        { path = $0; while (sub(/\/[^\/]*$/, "", path) && path) if (path in whole) next; print }' \
        "$work/aside" "$work/changed" | grep -Fxv -f "$work/aside" >"$work/paths"
    unmounted | sed 's/$/ (mounted)/' | report_lines ''
    report_lines '' <"$work/aside"
    missing_packages >"$work/packages"
    report_lines "package " <"$work/packages"
    report_lines '' <"$work/paths"
    keys_again check >"$work/let-in"
    report_lines "keys of " <"$work/let-in"
    units_now >"$work/now"
    { unit_changes units.txt "$work/now" | cut -d ' ' -f 2; added_links | sed 's,.*/,,'; stopped_units; } |
        sort -u >"$work/units"
    report_lines "unit " <"$work/units"
    held_then | report_lines "hold of "
    container_changes | while read -r _ name _; do report "restart policy of container $name"; done
    missing_arguments | report_lines "kernel argument "
    echo "Files: $(($(count "$work/paths") + $(count "$work/aside"))), packages: $(count "$work/packages")," \
        "keys: $(count "$work/let-in"), units: $(count "$work/units"). Nothing was changed."
}

bring_back() {
    unmounted >"$work/mounts"
    while IFS= read -r target; do mount_again "$target"; done <"$work/mounts"
    put_all_back >"$work/aside"
    report_lines '' <"$work/aside"
    missing_packages >"$work/packages"
    # dpkg itself does not wait for another package manager.
    [ ! -s "$work/packages" ] || apt-get -o DPkg::Lock::Timeout=600 check >/dev/null 2>&1
    while IFS= read -r package; do
        if dpkg --install --force-confold "$package" >"$work/error" 2>&1 </dev/null; then
            report "package $package"
        else
            echo "not installed: $package: $(tail -n 1 "$work/error")"
        fi
    done <"$work/packages"
    differences | cut -f 1 | sort -u >"$work/paths"
    extract
    sed 's,^,/,' "$work/paths" | report_lines ''
    drop_same_copies
    keys_again >"$work/let-in"
    report_lines "keys of " <"$work/let-in"
    settle_units | sort -u >"$work/units"
    report_lines "unit " <"$work/units"
    held_then | while IFS= read -r package; do
        echo "$package hold" | dpkg --set-selections && report "hold of $package"
    done
    container_changes | while read -r kind name policy; do
        "$kind" update --restart="$policy" "$name" >/dev/null && report "restart policy of container $name"
    done
    rebuild_boot_files | report_lines ''
    stopped_units >"$work/stopped"
    while IFS= read -r unit; do
        timeout 90 systemctl start "$unit" 2>/dev/null </dev/null && report "unit $unit (started)"
    done <"$work/stopped"
    echo "Files: $(($(count "$work/paths") + $(count "$work/aside"))), packages: $(count "$work/packages")," \
        "keys: $(count "$work/let-in"), units: $(count "$work/units")."
}

main() {
    check='' lock='' folder=/var/backups/deeprig
    for word in "$@"; do
        case $word in
        --check) check=yes ;;
        --lock) lock=yes ;;
        *) folder=$word ;;
        esac
    done
    verb='brought back'
    [ -z "$check" ] || verb='would bring back'
    cd "$folder" 2>/dev/null && [ -e SHA256SUMS ] || {
        echo "$folder on this rig has no backup: send yours with fab restore --source FOLDER" \
            "(fab status shows where there is one)"
        return 2
    }
    bad=$(faults)
    [ -z "$bad" ] || {
        echo "The backup in $folder is damaged, and nothing was restored: $(echo "$bad" | sort | paste -s -d ';')"
        return 2
    }
    if [ "$lock" ] && [ -z "$check" ]; then
        mkdir -p -m 700 /run/deeprig && exec 9>>/run/deeprig/lock && flock --nonblock 9 || {
            echo "another run is at work on this rig: wait for it to end, then run again"
            return 2
        }
    fi
    work=$(mktemp -d) || return 2
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' HUP INT TERM
    echo "$EXCLUDED" >"$work/excluded"
    tar --list --quoting-style=escape --file before.tar.gz | sed 's,/$,,' >"$work/members"
    if [ "$check" ]; then
        predict
        return 0
    fi
    bring_back
    remaining >"$work/remaining"
    echo "A reboot starts what started then: the miner, its watchdog, its remote control."
    echo "Passwords, users, sshd and its host keys stay as they are now; so does all that was added."
    echo "A driver that had come from a .run file is not brought back: the packaged one stays."
    if [ -s "$work/remaining" ]; then
        echo "These differ from the backup still:"
        sed 's/^/  /' "$work/remaining"
        return 1
    fi
    echo "The rig was compared with the backup: nothing else differs."
}

main "$@" </dev/null
