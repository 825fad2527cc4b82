# The kernel's part that a container lacks: its modules. Sourced by the programs in bin/.
HW=/run/hardware
RELEASE=$(uname -r)
INITRD=/boot/initrd.img-$RELEASE

# The file of a module for a kernel; DKMS's updates/ come first, as depmod has it.
module_file() { # NAME [RELEASE]
    for folder in updates/dkms kernel/drivers/video kernel/drivers/char; do
        for name in "$1" "$(echo "$1" | tr _ -)" "$(echo "$1" | tr - _)"; do
            if [ -e "/lib/modules/${2:-$RELEASE}/$folder/$name.ko" ]; then
                echo "/lib/modules/${2:-$RELEASE}/$folder/$name.ko"
                return
            fi
        done
    done
}

is_real() { # FILE: whether it is a module of a real kernel
    [ "$(head -c 4 "$1" | tail -c 3)" = ELF ]
}

module_value() { # FILE KEY: our modules are text
    if is_real "$1"; then
        /usr/lib/lab-hardware/real/modinfo -F "$2" "$1"
    else
        sed -n "s/^$2=//p" "$1"
    fi
}

# The lines of modprobe.d in the order of the files' names. A file hides one of its name in a later folder.
modprobe_config() {
    for folder in /etc/modprobe.d /run/modprobe.d /usr/local/lib/modprobe.d /usr/lib/modprobe.d; do
        for file in "$folder"/*.conf; do
            [ ! -r "$file" ] || [ -d "$file" ] || echo "${file##*/} $file"
        done
    done | sort -s -k1,1 | awk '!seen[$1]++ { print $2 }' | while read -r file; do
        # One command a line: continued lines are joined, names have no dashes, comments are left out.
        sed -e ':a' -e '/\\$/N; s/\\\n//; ta' "$file" | awk '
            $1 ~ /^#/ || NF < 2 { next }
            { $1 = $1; if ($1 != "alias") gsub("-", "_", $2); print }'
    done
}

kernel_words() { # NAME: the values of name=… on the kernel's command line, each on a line
    tr ' ' '\n' <"$HW/proc/cmdline" | sed -n "s/^$1=//p" | tr ',' '\n' | tr - _
}

# Whether a module stays away when it is named by an alias, as udev does it: not if it is named itself.
blacklisted() { # NAME [FILE of a configuration; the default is that of modprobe.d]
    for word in $(kernel_words modprobe.blacklist); do [ "$word" != "$1" ] || return 0; done
    refused "$1" && return 0
    if [ -n "$2" ]; then cat "$2" 2>/dev/null; else modprobe_config; fi |
        awk -v name="$1" '$1 == "blacklist" && $2 == name { hit = 1 }
                          $1 == "alias" && $2 == name && $3 == "off" { hit = 1 } END { exit !hit }'
}

refused() { # NAME: the kernel itself does not load it
    for word in $(kernel_words module_blacklist); do [ "$word" != "$1" ] || return 0; done
    return 1
}

install_command() { # NAME: the command of its `install` line
    modprobe_config | awk -v name="$1" '$1 == "install" && $2 == name { $1 = $2 = ""; sub("^ *", ""); print; exit }'
}

loaded() { [ -d "/sys/module/$1" ]; }

note_module() { # NAME SIZE USERS
    mkdir -p "/sys/module/$1"
    echo live >"/sys/module/$1/initstate"
    echo "$3" >"/sys/module/$1/refcnt"
    echo "$1 $2 $3 - Live 0x0000000000000000" >>"$HW/proc/modules"
}

forget_module() {
    rm -rf "/sys/module/$1"
    kept=$(grep -v "^$1 " "$HW/proc/modules")
    echo "$kept" >"$HW/proc/modules" # in place: /proc/modules is bound to it
}

cards() {
    for device in /sys/bus/pci/devices/*; do
        grep -qs 0x10de "$device/vendor" && grep -qs '^0x03' "$device/class" && echo "$device"
    done
}

free_cards() { # those that vfio-pci has not claimed
    for card in $(cards); do
        case $(readlink "$(readlink -f "$card")/driver") in
        *vfio-pci) ;;
        *) echo "$card" ;;
        esac
    done
}

bind() { # DRIVER [CARD…]: the cards, or all that are free, get it
    mkdir -p "/sys/bus/pci/drivers/$1"
    driver=$1
    shift
    [ $# -gt 0 ] || set -- $(free_cards)
    for card; do
        real=$(readlink -f "$card")
        up=$(echo "${real#/sys/}" | sed 's,[^/]*,..,g')
        ln -sfn "$up/bus/pci/drivers/$driver" "$real/driver"
        ln -sfn "../../../../${real#/sys/}" "/sys/bus/pci/drivers/$driver/${real##*/}"
    done
}

unbind() {
    for card in $(free_cards); do rm -f "$(readlink -f "$card")/driver"; done
    rm -rf "/sys/bus/pci/drivers/$1"
}

load_nouveau() {
    note_module nouveau 2600960 0
    bind nouveau
}

# vfio-pci claims what its options name, before any driver, if the initramfs or a module list has it.
bind_vfio() {
    ids="$(awk '$1 == "options" && $2 == "vfio_pci"' "$INITRD" 2>/dev/null | grep -o 'ids=[^ ]*' | cut -d= -f2 | tr ',' '\n')
$(tr ' ' '\n' <"$HW/proc/cmdline" | sed -n 's/^vfio-pci\.ids=//p' | tr ',' '\n')"
    grep -qs '^module vfio_pci' "$INITRD" || grep -q 'vfio-pci\.ids=' "$HW/proc/cmdline" ||
        grep -Eqs '^vfio[-_]pci' /etc/modules /etc/modules-load.d/*.conf || return 0
    for card in $(cards); do
        id=$(sed 's/^0x//' "$card/vendor"):$(sed 's/^0x//' "$card/device")
        case "
$ids
" in *"
$id
"*) bind vfio-pci "$card" ;; esac
    done
}

load_nvidia() { # [NAME of the file, if it is not the module's]
    file=$(module_file "${1:-nvidia}")
    if loaded nouveau || [ -z "$(free_cards)" ]; then
        echo "modprobe: ERROR: could not insert 'nvidia': No such device" >&2
        return 1
    fi
    loaded nvidia && return 0
    version=$(module_value "$file" version)
    if [ "$(module_value "$file" license)" = "Dual MIT/GPL" ]; then
        kind="NVIDIA UNIX Open Kernel Module for x86_64  $version  Release Build"
    else
        kind="NVIDIA UNIX x86_64 Kernel Module  $version"
    fi
    note_module nvidia 104165376 0
    echo "$version" >/sys/module/nvidia/version
    mkdir -p "$HW/proc/driver/nvidia"
    printf 'NVRM version: %s  (buildd@lab)\nGCC version:  gcc version 12.2.0\n' "$kind" \
        >"$HW/proc/driver/nvidia/version"
    number=0
    for card in $(free_cards); do
        mknod -m 666 "/dev/nvidia$number" c 195 "$number" 2>/dev/null || touch "/dev/nvidia$number"
        mkdir -p "$HW/proc/driver/nvidia/gpus/${card##*/}"
        number=$((number + 1))
    done
    mknod -m 666 /dev/nvidiactl c 195 255 2>/dev/null || touch /dev/nvidiactl
    touch "$HW/in-use"
    chmod 644 "$HW/in-use"
    bind nvidia
}

# A program that has loaded NVML has this file open, as it has the devices on steel.
nvidia_users() { fuser "$HW/in-use" 2>/dev/null; }

load_helper() { # nvidia_uvm and its like need nvidia
    load_nvidia || return 1
    loaded "$1" || note_module "$1" 1540096 0
    [ "$1" != nvidia_uvm ] || mknod -m 666 /dev/nvidia-uvm c 511 0 2>/dev/null || true
}

unload() {
    if [ "$1" = nvidia ] && [ -n "$(nvidia_users)" ]; then
        echo "${0##*/}: ERROR: Module nvidia is in use" >&2
        return 1
    fi
    forget_module "$1"
    case $1 in
    nouveau) unbind nouveau ;;
    nvidia)
        unbind nvidia
        rm -rf "$HW/proc/driver/nvidia" /dev/nvidia*
        ;;
    esac
}
