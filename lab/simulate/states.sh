# Functions for the scripts of states.yml; it runs before each of them.
set -e
export DEBIAN_FRONTEND=noninteractive

fetch_key() { # FILE [URL]: the vendor's key, or another one, in binary form; without GnuPG, which may be missing
    curl -fsS "${2:-${VENDOR}key.asc}" | sed -n '/^$/,/^=/ { /^=/!p }' | base64 -d >"$1.new"
    chmod 644 "$1.new" && mv "$1.new" "$1"
}

entry() { # list|deb822 NAME URI SUITE COMPONENT…
    form=$1 name=$2 uri=$3
    shift 3
    case $form in
    deb822)
        suite=$1
        shift
        printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: %s\n' "$uri" "$suite" "$*" >"/etc/apt/sources.list.d/$name.sources"
        ;;
    *) echo "deb $uri $*" >"/etc/apt/sources.list.d/$name.list" ;;
    esac
}

enable_components() { # COMPONENT…: of the distribution, beside main
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
        [ ! -e "$file" ] || sed -i -E "/^(deb http|Components:)/ s/ main\$/ main $*/" "$file"
    done
}

# cuda-keyring as NVIDIA builds it: three files, of which those below /etc are conffiles.
keyring_package() { # ENTRY with @URI@, SUFFIX of its file
    tree=$(mktemp -d)
    list=/etc/apt/sources.list.d/cuda-$(. /etc/os-release && echo "$ID$VERSION_ID")-x86_64.$2
    mkdir -p "$tree/DEBIAN" "$tree/usr/share/keyrings" "$tree/etc/apt/sources.list.d" "$tree/etc/apt/preferences.d"
    fetch_key "$tree/usr/share/keyrings/cuda-archive-keyring.gpg"
    echo "$1" | sed "s,@URI@,$VENDOR,; s/^ *//" >"$tree$list"
    printf 'Package: nsight-compute\nPin: origin *ubuntu.com*\nPin-Priority: -1\n\nPackage: nsight-systems\n%s\n\n%s\n' \
        "$(printf 'Pin: origin *ubuntu.com*\nPin-Priority: -1')" \
        "$(printf 'Package: *\nPin: release l=NVIDIA CUDA\nPin-Priority: 600')" \
        >"$tree/etc/apt/preferences.d/cuda-repository-pin-600"
    printf '%s\n/etc/apt/preferences.d/cuda-repository-pin-600\n' "$list" >"$tree/DEBIAN/conffiles"
    control cuda-keyring 1.1-1 all >"$tree/DEBIAN/control"
    chmod -R u=rwX,go=rX "$tree"
    dpkg-deb --root-owner-group --build "$tree" /tmp/package.deb >/dev/null
    dpkg --install /tmp/package.deb
    rm -r "$tree" /tmp/package.deb
}

control() { # NAME VERSION ARCHITECTURE [DEPENDS]
    printf 'Package: %s\nVersion: %s\nArchitecture: %s\nMaintainer: A third party <x@y.example>\n' "$1" "$2" "$3"
    [ -z "$4" ] || printf 'Depends: %s\n' "$4"
    printf 'Description: A package of an earlier set-up\n'
}

make_package() { # NAME[=VERSION] [COMMAND of its postinst] [DEPENDS]: to /tmp/package.deb
    tree=$(mktemp -d)
    mkdir "$tree/DEBIAN"
    case $1 in *=*) version=${1#*=} ;; *) version=1 ;; esac
    control "${1%%=*}" "$version" amd64 "$3" >"$tree/DEBIAN/control"
    printf '#!/bin/sh\n%s\n' "${2:-exit 0}" >"$tree/DEBIAN/postinst"
    chmod -R u=rwX,go=rX "$tree" && chmod 755 "$tree/DEBIAN/postinst"
    dpkg-deb --root-owner-group --build "$tree" /tmp/package.deb >/dev/null
    rm -r "$tree"
}

ensure_package() { # NAME[=VERSION]: installed, as an empty package if it is not
    ! dpkg-query -W -f '${db:Status-Status}' "${1%%=*}" 2>/dev/null | grep -qx installed || return 0
    make_package "$1"
    dpkg --install /tmp/package.deb
    rm /tmp/package.deb
}

set_status() { # NAME 'WANT FLAG STATUS' [FIELD]: what dpkg's database reports of a package
    awk -v name="$1" -v status="$2" -v field="$3" '
        /^Package: / { hit = $2 == name }
        hit && /^Status: / { print "Status: " status; if (field) print field; next }
        # The version that was configured last, for a package that is not.
        hit && /^Version: / && status !~ /installed$|triggers/ { print; print "Config-Version: " $2; next }
        { print }' /var/lib/dpkg/status >/var/lib/dpkg/status.new
    mv /var/lib/dpkg/status.new /var/lib/dpkg/status
}

install_packages() { apt-get install -qy -o Dpkg::Use-Pty=0 "$@"; }

# A process that holds a lock of apt or dpkg, called as the programs that do so.
hold_lock() { # SECONDS [dpkg|lists] [NAME]
    name=${3:-unattended-upgrade}
    case ${2:-dpkg} in
    lists) files=/var/lib/apt/lists/lock ;;
    *) files="/var/lib/dpkg/lock-frontend /var/lib/dpkg/lock" ;;
    esac
    mkdir -p /run/lab-locks
    cat >"/run/lab-locks/$name" <<PROGRAM
#!/usr/bin/python3
import fcntl, pathlib, sys, time
locks = [open(name, "a") for name in sys.argv[2:]]
for lock in locks:
    fcntl.lockf(lock, fcntl.LOCK_EX)
pathlib.Path("/run/lab-locks/held").touch()
time.sleep(float(sys.argv[1]))
PROGRAM
    chmod 755 "/run/lab-locks/$name"
    rm -f /run/lab-locks/held
    systemd-run --quiet --collect --unit="lab-$name" "/run/lab-locks/$name" "$1" $files
    tries=0
    until [ -e /run/lab-locks/held ]; do
        tries=$((tries + 1))
        [ $tries -lt 200 ] || { echo "The lock could not be taken." >&2 && exit 1; }
        sleep 0.05
    done
}
