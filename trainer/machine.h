// What this machine offers a training run.
#ifndef TERN_TRAINER_MACHINE_H_
#define TERN_TRAINER_MACHINE_H_

namespace tern {

// Multiply-accumulates per second of the dense GEMM on all threads: the best of several runs, about
// half a second. `bfloat16` picks the input type where the CPU has it.
double MeasureGemmPeak(bool bfloat16);

}  // namespace tern

#endif  // TERN_TRAINER_MACHINE_H_
