#!/bin/bash
# A run as one job array and a last job: submit.sh CONFIG [SHARES [OPTIONS OF sbatch]], as
#   deploy/slurm/submit.sh deploy/configs/affwild2.yaml 8 --partition=cpu --account=lab
# With GENERATION=NAME in the environment, readers of the store see nothing of it until `affstore generation promote NAME`.
set -eu
here=$(dirname "$(readlink -f "$0")")
config=$(readlink -f "$1")
shares=${2:-8}
shift $(($# < 2 ? $# : 2))
array=$(sbatch --parsable --array="1-$shares" "$@" "$here/array.sbatch" "$config")
last=$(sbatch --parsable --dependency="afterany:$array" "$@" "$here/finish.sbatch" "$config")
echo "array $array, then $last; squeue shows them, slurm-*.out is what they say"
