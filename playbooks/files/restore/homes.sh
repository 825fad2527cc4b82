# The restore in the homes of users, who may have put links anywhere, and may exchange them at any time.

# Run a command where the home of one user is the only folder that can be written, and the system's programs
# are all else that there is: no link leads to what is another's. /aside: what was put aside of this home.
in_home() { # USER COMMAND [ARGUMENT...]
    mkdir -p "$work/jail"
    unshare --mount sh -c '
        set -e
        jail=$1 aside=$2 work=$3 user=$4
        shift 4
        mount --make-rprivate /
        mount -t tmpfs -o mode=755 tmpfs "$jail"
        for name in usr bin sbin lib lib32 lib64 libx32 etc/alternatives; do
            if [ -L "/$name" ]; then
                cp -P "/$name" "$jail/$name"
            elif [ -d "/$name" ]; then
                mkdir -p "$jail/$name"
                mount --bind "/$name" "$jail/$name"
                mount -o remount,bind,ro "$jail/$name"
            fi
        done
        mkdir -p "$jail/home/$user" "$jail/aside" "$jail/work" "$jail/dev"
        : >"$jail/dev/null"
        mount --bind /dev/null "$jail/dev/null"
        mount --bind "$work" "$jail/work"
        mount -o remount,bind,ro "$jail/work"
        mount --rbind "/home/$user" "$jail/home/$user"
        [ ! -d "$aside/home/$user" ] || mount --bind "$aside/home/$user" "$jail/aside"
        mount -o remount,ro "$jail"
        cd "$jail"
        exec chroot "$jail" "$@"
    ' in_home "$work/jail" "$folder/removed" "$work" "$@"
}

home_users() { sed -n 's,^home/\([^/]*\)/.*,\1,p' | sort -u; } # of the paths that are read

# -- what was put aside

# Functions as text: they run here and beside a home.
PUT_BACK='
put_back() { # FROM TO [check]: move what is missing below TO there, the largest folders as a whole
    for name in "$1"/* "$1"/.[!.]* "$1"/..?*; do
        [ -e "$name" ] || [ -L "$name" ] || continue
        target=$2/${name##*/}
        case $name in
        # Copies that were moved out of the way of a later one; of a file, the first is the one of then.
        *.~[0-9]~ | *.~[0-9][0-9]~ | *@[0-9][0-9]:[0-9][0-9]:[0-9][0-9]~) continue ;;
        esac
        if [ -d "$name" ] && [ ! -L "$name" ] && [ -d "$target" ] && [ ! -L "$target" ]; then
            put_back "$name" "$target" "${3-}"
        elif [ -e "$target" ] || [ -L "$target" ]; then
            continue
        elif [ "${3-}" ]; then
            printf "%s\n" "$target"
        else
            [ ! -e "$name.~1~" ] || name=$name.~1~
            mv -T -- "$name" "$target" || continue
            printf "%s\n" "$target"
            # A file of a home that was put aside became the property of root.
            owner=$(stat -c %u "$2")
            [ "$owner" = 0 ] || [ -d "$target" ] || [ "$(stat -c %u "$target")" != 0 ] ||
                chown -h --reference="$2" "$target"
        fi
    done
    [ "${3-}" ] || [ "$1" = /aside ] || rmdir -- "$1" 2>/dev/null || :
}
'
eval "$PUT_BACK"

put_all_back() { # [check]: print what is moved back
    [ -d removed ] || return 0
    for aside in "$folder"/removed/* "$folder"/removed/.[!.]*; do
        [ -e "$aside" ] || continue
        top=${aside##*/}
        if [ "$top" = home ]; then
            for aside in "$folder"/removed/home/*; do
                user=${aside##*/}
                [ -d "/home/$user" ] || continue
                move_whole_folders "$user" "${1-}"
                in_home "$user" sh -c "$PUT_BACK put_back /aside /home/$user ${1-}" </dev/null
            done
        elif [ -d "$aside" ] && [ -d "/$top" ]; then
            put_back "$aside" "/$top" "${1-}"
        elif [ ! -e "/$top" ]; then
            [ "${1-}" ] || mv -T -- "$aside" "/$top"
            echo "/$top"
        fi
    done
}

# A folder of a home on the same disk is renamed: a copy may be too large, and renaming follows no link.
move_whole_folders() { # USER [check]
    [ -z "${2-}" ] && [ "$(stat -c %d removed)" = "$(stat -L -c %d "/home/$1")" ] || return 0
    for aside in "$folder/removed/home/$1"/* "$folder/removed/home/$1"/.[!.]*; do
        target=/home/$1/${aside##*/}
        [ -d "$aside" ] && [ ! -e "$target" ] && [ ! -L "$target" ] || continue
        mv -T -- "$aside" "$target" && echo "$target"
    done
}

drop_same_copies() { # what was put aside and is back as it was needs no copy
    find "$folder/removed" -type f -o -type l 2>/dev/null | while IFS= read -r aside; do
        target=${aside#"$folder/removed"}
        if [ -L "$aside" ]; then
            [ -L "$target" ] && [ "$(readlink -- "$aside")" = "$(readlink -- "$target")" ] && rm -f -- "$aside"
        elif [ -f "$target" ] && [ ! -L "$target" ]; then
            timeout 60 cmp -s -- "$aside" "$target" && rm -f -- "$aside"
        fi
    done
    [ ! -d "$folder/removed" ] || find "$folder/removed" -mindepth 1 -type d -empty -delete
}

# -- keys that were let in

# Read the keys of then (first file) and those of now; print those of now with those of then let in again: a line
# that is commented out becomes a key again, any other is added.
ADD_KEYS='
    FNR == NR { if (NF) keys[++count] = $0; next }
    { line = $0; sub(/^# deeprig: /, "", line); lines[++all] = $0; bare[all] = line }
    END {
        for (i = 1; i <= count; i++) wanted[keys[i]] = 1
        for (i = 1; i <= all; i++) if (lines[i] in wanted) seen[lines[i]] = 1
        for (i = 1; i <= all; i++) {
            if (!(lines[i] in wanted) && bare[i] in wanted && !(bare[i] in seen)) { lines[i] = bare[i]; changed++ }
            seen[lines[i]] = 1
            print lines[i]
        }
        for (i = 1; i <= count; i++) if (!(keys[i] in seen)) { seen[keys[i]] = 1; print keys[i]; changed++ }
        exit !changed
    }'

key_members() { grep -E '^(root|home/[^/]+)/[.]ssh/authorized_keys2?$' "$work/members"; }

# Let the keys of a file in again; print its path if that changed it.
LET_IN='
let_in() { # FILE WORK PROGRAM [check]
    [ -d "${1%/*}" ] || return 0
    [ -f "$1" ] && now=$1 || now=/dev/null
    if [ "${4-}" ]; then
        awk "$3" "$2/keys" "$now" >/dev/null && printf "%s\n" "$1"
        return 0
    fi
    draft=$(mktemp "$1.XXXXXX") || return 0
    if awk "$3" "$2/keys" "$now" >"$draft"; then
        if [ -f "$1" ]; then chmod --reference="$1" "$draft"; chown --reference="$1" "$draft"
        else chown --reference="${1%/*}" "$draft"; fi
        mv -T -- "$draft" "$1" && printf "%s\n" "$1"
    fi
    rm -f -- "$draft"
}
'
eval "$LET_IN"

keys_again() { # [check]: print the files to which keys are added
    key_members | while IFS= read -r member; do
        from_archive "$member" >"$work/keys"
        case $member in
        root/*) let_in "/$member" "$work" "$ADD_KEYS" "${1-}" ;;
        *)
            user=${member#home/} user=${user%%/*}
            [ -d "/home/$user" ] || continue
            in_home "$user" sh -c "$LET_IN"'let_in "$@"' let_in "/$member" /work "$ADD_KEYS" "${1-}" </dev/null
            ;;
        esac
    done
}
