#include "engine/error.h"
#include "trainer/backbone.h"

namespace tern {

void ExportBackbone(const Backbone&, const std::string& dir) {
  throw Unsupported(dir + ": export is not there yet");
}

void ImportMasters(const std::string& dir, Backbone&) {
  throw Unsupported(dir + ": import is not there yet");
}

}  // namespace tern
