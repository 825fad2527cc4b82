# Print why a trial of a tree ended, from what it wrote: reasons.sh TREE
tree=$top$1
boot=$(last_boot "$tree")
if [ -z "$boot" ] || [ "$boot" = "$(cat "$tree/etc/deeprig/boots" 2>/dev/null)" ]; then
    echo "it wrote no journal: it did not come as far as its root file system, or its init did not start"
    exit 0
fi

read_journal() { # OPTION …
    tree_journal "$tree" --boot "$boot" --output cat "$@" | cut -c 1-200
}

failed=$(read_journal | grep -E 'Failed with result|Failed to start|Dependency failed' | tail -n 8)
if [ -n "$failed" ]; then
    echo "units that failed:"
    printf '%s\n' "$failed"
fi
echo "the last errors in its journal:"
read_journal --priority err --lines 10
