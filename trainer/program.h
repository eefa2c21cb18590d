#pragma once

#include "model/added_models.h"

namespace musher {

/// All of musher-trainer, with models of the caller's own beside Musher's: what the `main` of such
/// a program returns. Prints errors itself. It changes how the process takes signals and may end it
/// at once, so nothing should come after it; one call a process. `musher train --trainer PROGRAM`
/// and `musher serve --trainer PROGRAM` start the program instead of musher-trainer.
int run_trainer(int argc, char** argv, const AddedModels& models = {});

}  // namespace musher
