# Make a tree of the image that was sent: unpack.sh TREE DIGEST. TREE is /deeprig-1 or /deeprig-2.
#
# The tree has its name only when it is whole, and the image is removed then.
open_whole
tree=$1 digest=$2
image=/deeprig.image
draft=$top$tree.new

check_tree "$tree"
[ "$tree" != "$running" ] || refuse "$tree is the system that runs"
if [ "$(cat "$top$tree/etc/deeprig/image" 2>/dev/null)" = "$digest" ]; then
    rm -rf "$draft" "$image"
    echo "unpacked already"
    exit 0
fi
sum=$(sha256sum <"$image" | cut -d ' ' -f 1)
if [ "$sum" != "$digest" ]; then
    rm -f "$image"
    refuse "the image came over damaged, and is removed: run again"
fi
rm -rf "$draft" "$top$tree" || refuse "what is in $tree can't be removed"
mkdir -m 755 "$draft" || exit 1
# Owners are numbers here: the old system has other names for them.
tar -xzpf "$image" -C "$draft" --numeric-owner || refuse "the image can't be unpacked: is the disk full?"
mkdir -p "$draft/etc/deeprig"
echo "$digest" >"$draft/etc/deeprig/image"
sync
mv "$draft" "$top$tree" && sync || exit 1
rm -f "$image"
echo "unpacked"
