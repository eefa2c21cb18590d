// musher-trainer: one rank of a training job, as mpirun starts it.

#include "trainer/program.h"

int main(int argc, char** argv) {
  return musher::run_trainer(argc, argv);
}
