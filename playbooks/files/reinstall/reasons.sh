# Print why a trial of a tree ended, from what it wrote: reasons.sh TREE
tree=$top$1
journal=$tree/var/log/journal
if [ ! -d "$journal" ] || [ -z "$(find "$journal" -name '*.journal' 2>/dev/null)" ]; then
    echo "it wrote no journal: it did not come as far as its own root file system"
    exit 0
fi
echo "the last lines of its journal, with warnings and errors:"
journalctl --directory "$journal" --boot --priority warning --lines 15 --output cat --no-pager 2>&1 | cut -c 1-200
echo "units that failed:"
journalctl --directory "$journal" --boot --output cat --no-pager 2>/dev/null |
    grep -E 'Failed with result|Failed to start|Dependency failed' | tail -n 8 | cut -c 1-200
