// Writes Medusa heads: config.json, medusa_lm_head.safetensors and medusa_lm_head.pt.
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/atomic_file.h"
#include "engine/draft_calibration.h"
#include "engine/draft_shortlist.h"
#include "engine/draft_successors.h"
#include "engine/error.h"
#include "engine/heads_sample.h"
#include "engine/medusa_heads.h"
#include "engine/safetensors_writer.h"
#include "engine/torch_writer.h"

namespace tern {
namespace {

namespace fs = std::filesystem;

// The tensors of heads_tensors.h, in the order of the files. Borrows from the heads.
class MedusaTensors {
 public:
  explicit MedusaTensors(const MedusaHeads& heads) {
    const auto d = static_cast<size_t>(heads.hidden_size), k = static_cast<size_t>(heads.count),
               l = heads.blocks.size();
    biases_ = AlignedBuffer<BFloat16>(k * l * d);
    for (size_t head = 0; head < k; ++head) {
      const std::string number = std::to_string(head) + ".";
      for (size_t layer = 0; layer < l; ++layer) {
        const MedusaBlock& block = heads.blocks[layer];
        TERN_CHECK(!block.two_matrices()) << "heads of MedusaBitNet";
        const auto biases = biases_.span().subspan((head * l + layer) * d, d);
        std::ranges::transform(block.biases.span().subspan(head * d, d), biases.begin(),
                               BFloat16::FromFloat);
        const std::string name = number + std::to_string(layer) + ".linear.";
        all_.push_back(
            {name + "weight", {d, d}, block.weights.span().subspan(head * d * d, d * d)});
        all_.push_back({name + "bias", {d}, biases});
      }
      const size_t own = heads.vocabularies.size() / k;
      if (own == 0) continue;
      all_.push_back({number + std::to_string(l) + ".weight",
                      {own / d, d},
                      heads.vocabularies.span().subspan(head * own, own)});
    }
  }
  const std::vector<TorchTensor>& all() const { return all_; }

 private:
  AlignedBuffer<BFloat16> biases_;  // [K, L, d]
  std::vector<TorchTensor> all_;
};

}  // namespace

void SaveMedusaHeads(const std::string& dir, const MedusaHeads& heads, int32_t vocab_size) {
  std::error_code error;
  fs::create_directories(dir, error);
  if (error) throw SystemError(dir + ": cannot create the directory", error.value());
  const MedusaTensors tensors(heads);
  std::vector<TensorToWrite> writes;
  for (const TorchTensor& tensor : tensors.all()) {
    writes.push_back({tensor.name, "BF16", tensor.shape, [&tensor](AtomicFile& file) {
                        file.Write(tensor.values.data(), tensor.values.size_bytes());
                      }});
  }
  WriteSafetensors((fs::path(dir) / kMedusaSafetensors).string(), writes);
  WriteShortlist(dir, heads.shortlist);
  if (heads.sees_root()) WriteRootWeights(dir, heads.root_weights.span(), heads.hidden_size);
  WriteSuccessors(dir, heads.successors);
  WriteCalibration(dir, heads.calibration);
  WriteSample(dir, heads.sample);
  nlohmann::ordered_json config = {{"medusa_num_heads", heads.count},
                                   {"medusa_num_layers", heads.blocks.size()},
                                   {"hidden_size", heads.hidden_size},
                                   {"vocab_size", vocab_size},
                                   {"version", heads.vocabularies.size() > 0 ? "1" : "2"},
                                   {"base_model_name_or_path", heads.info.base_model},
                                   {"tern",
                                    {{"backbone_fingerprint", heads.info.backbone_fingerprint},
                                     {"trained_tokens", heads.info.trained_tokens}}}};
  if (heads.sees_root()) config["tern"]["sees_root"] = true;
  WriteFileAtomically((fs::path(dir) / "config.json").string(), config.dump(2) + "\n");
  // Not before: a config.json of earlier heads may ask for them.
  if (!heads.sees_root()) WriteRootWeights(dir, {}, heads.hidden_size);
}

void SaveMedusaTorch(const std::string& dir, const MedusaHeads& heads) {
  TERN_CHECK(!heads.sees_root()) << "heads with root weights";
  WriteTorchFile((fs::path(dir) / kMedusaTorch).string(), MedusaTensors(heads).all());
}

}  // namespace tern
