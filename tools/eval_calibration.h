// `tern eval --write-calibration`: fits a calibration and puts it beside the heads.
#ifndef TERN_TOOLS_EVAL_CALIBRATION_H_
#define TERN_TOOLS_EVAL_CALIBRATION_H_

#include <string>
#include <vector>

#include "engine/model.h"
#include "engine/tokenizer.h"
#include "tools/commands.h"
#include "trainer/calibration_fit.h"

namespace tern {

// For the heads that --heads asks for or that lie beside the model in `model_dir`. Prints what the
// calibration says of texts it was not fitted on. Throws kInvalidArgument where there are no heads
// or they lie in a file without a folder of their own.
void WriteFittedCalibration(const Model& model, const Tokenizer& tokenizer,
                            const std::string& model_dir, const std::vector<Prompt>& prompts,
                            const CalibrationOptions& options, const CommonOptions& common);

}  // namespace tern

#endif  // TERN_TOOLS_EVAL_CALIBRATION_H_
