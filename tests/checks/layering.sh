#!/usr/bin/env bash
# kernels <- engine <- {trainer, server} <- tools: nothing includes upward or sideways, and the libraries that a
# layer hides stay hidden.
set -euo pipefail
cd "$1"
failed=0

# never FOLDERS PATTERN WHY [EXCEPT]: no source under FOLDERS has a line that matches PATTERN.
never() {
  local found
  # shellcheck disable=SC2086  # FOLDERS are words
  found=$(grep -rnE --include='*.cc' --include='*.h' "$2" $1 | grep -vE "^(${4:-nothing})" || true)
  if [ -n "$found" ]; then
    printf '%s\n%s\n' "$3" "$found"
    failed=1
  fi
}
include='^ *# *include *["<]'
never kernels "$include(engine|trainer|server|tools|tests)/" "kernels/ knows nothing above it"
never engine "$include(trainer|server|tools|tests)/" "engine/ sees kernels/ only"
never trainer "$include(server|tools|tests)/" "trainer/ sees engine/ and kernels/"
never server "$include(trainer|tools|tests)/" "server/ sees engine/ and kernels/"
never tools "${include}tests/" "tools/ must not need tests/"
never "engine trainer server tools" "${include}(hwy/|immintrin|[a-z]*intrin\.h|arm_neon)" "SIMD belongs to kernels/"
never "kernels engine trainer server tools" "${include}(dnnl|oneapi)" "oneDNN belongs to kernels/dense_matmul.cc" \
      "kernels/dense_matmul\.cc:"
never "kernels engine trainer server tools" "^ *# *pragma +omp|${include}omp\.h" "OpenMP belongs to kernels/parallel.cc" \
      "kernels/parallel\.cc:"
never "kernels engine trainer server tools" "${include}mpi" "MPI belongs to trainer/process_group_mpi.cc" \
      "trainer/process_group_mpi\.cc:"
never "kernels trainer server tools" "${include}sentencepiece" "sentencepiece belongs to engine/"
never "kernels engine trainer tools" "${include}httplib" "HTTP belongs to server/"
never "kernels engine trainer server" "${include}CLI/" "the command line belongs to tools/"
exit $failed
