// What the training loop asks of a model. Backbone fulfils it; tests use a model small enough to
// reason about.
#ifndef TERN_TRAINER_TRAINABLE_H_
#define TERN_TRAINER_TRAINABLE_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "trainer/backbone.h"
#include "trainer/process_group.h"

namespace tern {

// Contracts as in trainer/backbone.h, where a method has the same name.
class Trainable {
 public:
  virtual ~Trainable() = default;
  virtual const std::vector<ParameterSlice>& slices() const = 0;
  virtual std::span<float> parameters() = 0;
  virtual std::span<float> gradients() = 0;
  virtual void RefreshWeights() = 0;
  virtual double ForwardBackward(std::span<const int32_t> tokens, float scale) = 0;
  virtual double Loss(std::span<const int32_t> tokens) = 0;
  virtual std::vector<LayerQuantisation> QuantisationStats() const = 0;
  virtual std::span<const int8_t> TernaryCodes() const = 0;
  virtual double GemmMacsPerStep() const = 0;
  // Writes the model as it is now into `dir`.
  virtual void Export(const std::string& dir) = 0;
  // The example among ForwardBackward's inputs that most likely spoilt a step, for the user; empty
  // where the model cannot tell.
  virtual std::string Suspect(std::span<const int32_t>) { return ""; }
  // Figures of the model's own since the last call, over ForwardBackward's and over Loss's inputs:
  // objects that join the metrics records. "note" goes into the line of progress instead.
  // Share.. is called before, by every process of a group: the figures become those of all.
  virtual void ShareTrainingFigures(ProcessGroup&) {}
  virtual void ShareHeldOutFigures(ProcessGroup&) {}
  virtual nlohmann::json TakeTrainingFigures() { return nlohmann::json::object(); }
  virtual nlohmann::json TakeHeldOutFigures() { return nlohmann::json::object(); }
};

// The backbone as the loop sees it. Borrows.
class BackboneTrainable final : public Trainable {
 public:
  explicit BackboneTrainable(Backbone& backbone) : backbone_(backbone) {}
  const std::vector<ParameterSlice>& slices() const override { return backbone_.slices(); }
  std::span<float> parameters() override { return backbone_.parameters(); }
  std::span<float> gradients() override { return backbone_.gradients(); }
  void RefreshWeights() override { backbone_.RefreshWeights(); }
  double ForwardBackward(std::span<const int32_t> tokens, float scale) override {
    return backbone_.ForwardBackward(tokens, scale);
  }
  double Loss(std::span<const int32_t> tokens) override { return backbone_.Loss(tokens); }
  std::vector<LayerQuantisation> QuantisationStats() const override {
    return backbone_.QuantisationStats();
  }
  std::span<const int8_t> TernaryCodes() const override { return backbone_.TernaryCodes(); }
  double GemmMacsPerStep() const override { return backbone_.GemmMacsPerStep(); }
  void Export(const std::string& dir) override { ExportBackbone(backbone_, dir); }

 private:
  Backbone& backbone_;
};

}  // namespace tern

#endif  // TERN_TRAINER_TRAINABLE_H_
