#!/bin/sh
# Stands in for `caffe train --solver=solvers/NAME.prototxt`, which takes minutes: 400 iterations, whose
# weights get the names that the pages go on with. With --snapshot it resumes after 200.
#
#   sh tests/docs/train_briefly.sh NAME [--snapshot]
set -eu
name=$1
brief=build/docs_$name
if [ $# = 1 ] && [ -e "snapshots/${name}_iter_10000.caffemodel" ]; then
  exit # another page has trained it
fi
sed -e 's/^max_iter: .*/max_iter: 400/; s/^snapshot: .*/snapshot: 200/' \
    -e 's/^test_iter: .*/test_iter: 10/; s/^test_interval: .*/test_interval: 400/' \
    -e "s/^snapshot_prefix: .*/snapshot_prefix: \"build\/docs_$name\"/" \
    "solvers/$name.prototxt" >"$brief.prototxt"
if [ "${2-}" = --snapshot ]; then
  set -- --snapshot="${brief}_iter_200.solverstate"
else
  set --
fi
caffe train --solver="$brief.prototxt" "$@"
mkdir -p snapshots
for kind in caffemodel solverstate; do
  cp "${brief}_iter_200.$kind" "snapshots/${name}_iter_5000.$kind"
  cp "${brief}_iter_400.$kind" "snapshots/${name}_iter_10000.$kind"
done
