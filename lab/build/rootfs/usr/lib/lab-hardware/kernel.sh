# The kernel's part that a container lacks: its modules. Sourced by the programs in bin/.
HW=/run/hardware
RELEASE=$(uname -r)
INITRD=/boot/initrd.img-$RELEASE

# The file of a module; DKMS's updates/ come first, as depmod has it.
module_file() {
    for folder in updates/dkms kernel/drivers/video kernel/drivers/char; do
        if [ -e "/lib/modules/$RELEASE/$folder/$1.ko" ]; then
            echo "/lib/modules/$RELEASE/$folder/$1.ko"
            return
        fi
    done
}

module_value() { # FILE KEY: our modules are text
    sed -n "s/^$2=//p" "$1"
}

blacklisted() {
    grep -Eqs "^[[:space:]]*(blacklist[[:space:]]+$1|install[[:space:]]+$1[[:space:]]+/bin/(false|true))[[:space:]]*$" \
        /etc/modprobe.d/*.conf /run/modprobe.d/*.conf /usr/lib/modprobe.d/*.conf
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

bind() { # DRIVER: every card gets it
    mkdir -p "/sys/bus/pci/drivers/$1"
    for card in $(cards); do
        real=$(readlink -f "$card")
        up=$(echo "${real#/sys/}" | sed 's,[^/]*,..,g')
        ln -sfn "$up/bus/pci/drivers/$1" "$real/driver"
        ln -sfn "../../../../${real#/sys/}" "/sys/bus/pci/drivers/$1/${real##*/}"
    done
}

unbind() {
    for card in $(cards); do rm -f "$(readlink -f "$card")/driver"; done
    rm -rf "/sys/bus/pci/drivers/$1"
}

load_nouveau() {
    note_module nouveau 2600960 0
    bind nouveau
}

load_nvidia() {
    file=$(module_file nvidia)
    if loaded nouveau; then
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
    for card in $(cards); do
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
