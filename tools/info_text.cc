// The text of `tern info`.
#include <cstdarg>
#include <cstdio>

#include "tools/info.h"

namespace tern {
namespace {

std::string Format(const char* format, ...) {
  char text[400];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  return text;
}

// 7353600 as "7,353,600".
std::string Grouped(uint64_t value) {
  std::string digits = std::to_string(value);
  for (size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, ",");
  return digits;
}

std::string Bytes(uint64_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (bytes >= 1'000'000'000) return Format("%.2f GB", value / 1e9);
  if (bytes >= 1'000'000) return Format("%.1f MB", value / 1e6);
  if (bytes >= 10'000) return Format("%.1f KB", value / 1e3);
  return std::to_string(bytes) + " bytes";
}

void Line(const char* label, const std::string& text) {
  std::printf("%-13s %s\n", label, text.c_str());
}

std::string Text(const InfoJson& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

// Visible, whatever a token holds.
std::string Quoted(const InfoJson& token) {
  return token["text"].dump(-1, ' ', false, InfoJson::error_handler_t::replace) + " (" +
         token["id"].dump() + ")";
}

double Number(const InfoJson& json, const char* key) { return json[key].get<double>(); }
uint64_t Count(const InfoJson& json, const char* key) { return json[key].get<uint64_t>(); }

void PrintArchitecture(const InfoJson& info) {
  const InfoJson& a = info["architecture"];
  Line("layers",
       Format("%llu of hidden size %llu, feed-forward %llu (%s)",
              (unsigned long long)Count(a, "layers"), (unsigned long long)Count(a, "hidden_size"),
              (unsigned long long)Count(a, "intermediate_size"), Text(a["hidden_act"]).c_str()));
  Line("attention", Format("%llu heads of %llu, %llu of keys and values",
                           (unsigned long long)Count(a, "attention_heads"),
                           (unsigned long long)Count(a, "head_dim"),
                           (unsigned long long)Count(a, "key_value_heads")));
  std::string norms = Format("RMSNorm, epsilon %.3g", Number(a, "rms_norm_eps"));
  for (const InfoJson& norm : a["extra_norms"]) norms += ", " + Text(norm);
  Line("norms", norms);
  const InfoJson& rope = a["rope"];
  std::string context =
      Grouped(Count(a, "context")) + " tokens, rope theta " + Format("%.9g", Number(rope, "theta"));
  if (rope.contains("stretched_by")) {
    context += Format(", stretched by %.4g to %.4g", rope["stretched_by"][0].get<double>(),
                      rope["stretched_by"][1].get<double>());
  }
  Line("context", context);
  Line("activations", Text(a["activations"]) == "int8" ? "int8, quantised row by row"
                                                       : "float (weight-only model)");
}

void PrintSizes(const InfoJson& info) {
  const InfoJson& p = info["parameters"];
  const InfoJson& stored = info["stored"];
  const InfoJson& memory = info["memory"];
  const bool tied = info["architecture"]["tied_embeddings"].get<bool>();
  Line("parameters", Grouped(Count(p, "total")) + ": " + Grouped(Count(p, "ternary")) +
                         " ternary, " + Grouped(Count(p, "embedding")) +
                         (tied ? " embedding (also the output), " : " embedding and output, ") +
                         Grouped(Count(p, "gains")) + " gains");
  Line("stored",
       Bytes(Count(stored, "tensor_bytes")) + "; linears as " + Text(stored["linears_as"]) +
           Format(", %.2f bits a ternary weight, %.2f bits a parameter",
                  Number(stored, "bits_per_ternary_weight"), Number(stored, "bits_per_parameter")));
  Line("in memory", Bytes(Count(memory, "model_bytes")) + ", and " +
                        Bytes(Count(memory, "kv_cache_bytes_per_token")) + " a token of context (" +
                        Bytes(Count(memory, "kv_cache_bytes_per_token_int8")) + " as int8)");
}

void PrintTokenizer(const InfoJson& info) {
  const InfoJson& t = info["tokenizer"];
  if (t.contains("problem")) {
    Line("tokenizer", "none that tern can use: " + Text(t["problem"]));
  } else {
    std::string ends;
    for (const InfoJson& end : t["ends"]) ends += (ends.empty() ? "" : ", ") + Quoted(end);
    Line("tokenizer", Text(t["kind"]) + ", " + Grouped(Count(t, "vocab_size")) + " tokens, " +
                          Grouped(Count(t, "control_tokens")) + " of them control tokens");
    Line("", "prompts begin with " + (t["bos"].is_null() ? "nothing" : Quoted(t["bos"])) +
                 "; texts end at " + (ends.empty() ? "nothing" : ends));
  }
  if (t.contains("chat_template_problem")) {
    Line("chat", Text(t["chat_template_problem"]));
  } else if (t["chat_template"].is_null()) {
    Line("chat", "no template");
  } else {
    const std::string family = Text(t["chat_template"]);
    Line("chat", family == "unknown" ? "a template that this version cannot run"
                                     : "template of the family " + family);
  }
  Line("draft heads", info["heads"].is_null() ? "none beside the model" : Text(info["heads"]));
}

void PrintShares(const std::string& name, const std::string& shape, const InfoJson& s) {
  const double least = Number(s, "least_scale"), most = Number(s, "most_scale");
  const std::string scales =
      least == most ? Format("%.4g", least) : Format("%.4g to %.4g", least, most);
  std::printf("  %-13s %-16s %5.1f%% %5.1f%% %5.1f%%  %-24s %s\n", name.c_str(), shape.c_str(),
              100 * Number(s, "minus"), 100 * Number(s, "zero"), 100 * Number(s, "plus"),
              scales.c_str(), Grouped(Count(s, "zero_rows")).c_str());
}

void PrintWeights(const InfoJson& info) {
  if (!info.contains("linears") || info["linears"].empty()) return;
  std::printf("\n  %-13s %-16s %6s %6s %6s  %-24s %s\n", "linear", "shape", "-1", "0", "+1",
              "scales", "rows of zeros");
  for (const InfoJson& linear : info["linears"]) {
    const std::string shape = linear["shape"][0].dump() + " x " + linear["shape"][1].dump();
    PrintShares(Text(linear["name"]), shape, linear);
  }
  if (info["layers"].size() > 1) {
    for (const InfoJson& range : info["layers"]) {
      const std::string from = range["from"].dump(), to = range["to"].dump();
      PrintShares(from == to ? "layer " + from : "layers " + from + "-" + to, "", range);
    }
  }
  const InfoJson& all = info["all_linears"];
  PrintShares("all", Grouped(Count(all, "matrices")) + " matrices", all);
  const uint64_t scales = Count(all, "scales_per_matrix");
  if (scales > 1) std::printf("  up to %s scales a matrix\n", Grouped(scales).c_str());
  std::printf("\n");
  for (const InfoJson& table : info["tables"]) {
    Line(Text(table["name"]).c_str(), Format("root mean square %.4g, largest %.4g",
                                             Number(table, "rms"), Number(table, "largest")));
  }
  const char* label = "gains";
  for (const InfoJson& gain : info["gains"]) {
    Line(label, Format("%.3g to %.3g  ", Number(gain, "least"), Number(gain, "most")) +
                    Text(gain["name"]));
    label = "";
  }
}

void PrintUnusual(const InfoJson& info) {
  if (!info.contains("unusual")) return;
  const InfoJson& lines = info["unusual"];
  if (lines.empty()) {
    Line("unusual", "nothing");
    return;
  }
  constexpr size_t kMost = 20;
  Line("unusual", Grouped(lines.size()) + (lines.size() == 1 ? " thing:" : " things:"));
  for (size_t i = 0; i < lines.size() && i < kMost; ++i)
    std::printf("  %s\n", Text(lines[i]).c_str());
  if (lines.size() > kMost) std::printf("  ... (all with --json)\n");
}

void PrintTensors(const InfoJson& info) {
  const bool all = info.contains("tensors");
  if (!all && !info.contains("tensor_groups")) return;
  std::printf("\n");
  for (const InfoJson& tensor : info[all ? "tensors" : "tensor_groups"]) {
    const std::string count = all ? "" : tensor["count"].dump() + " x";
    std::printf("  %6s %-52s %-6s %-16s %s\n", count.c_str(), Text(tensor["name"]).c_str(),
                Text(tensor["type"]).c_str(), tensor["shape"].dump().c_str(),
                Bytes(Count(tensor, "bytes")).c_str());
  }
}

// Kinds that are but a few values.
// Small ones are rates and scales.
std::string Real(double value) { return Format(value < 0.1 ? "%.4g" : "%.3f", value); }

void PrintFields(const InfoJson& info) {
  for (const auto& [key, value] : info.items()) {
    if (key == "kind" || key == "path" || value.is_array()) continue;
    std::string label = key;
    for (char& c : label) {
      if (c == '_') c = ' ';
    }
    const bool bytes = key == "bytes" || key == "text_bytes";
    const std::string text = bytes                        ? Bytes(value.get<uint64_t>())
                             : value.is_number_unsigned() ? Grouped(value.get<uint64_t>())
                             : value.is_number_float()    ? Real(value.get<double>())
                                                          : Text(value);
    std::printf("%-20s %s\n", label.c_str(), text.c_str());
  }
  if (!info.contains("most_frequent")) return;
  std::string frequent;
  for (const InfoJson& token : info["most_frequent"]) {
    frequent += (frequent.empty() ? "" : ", ") + token["id"].dump() + " (" +
                Grouped(Count(token, "count")) + ")";
  }
  std::printf("%-20s %s\n", "most frequent", frequent.c_str());
}

}  // namespace

void PrintInfo(const InfoJson& info) {
  std::printf("%s: %s", Text(info["path"]).c_str(), Text(info["kind"]).c_str());
  if (Text(info["kind"]) != "model") {
    std::printf("\n");
    PrintFields(info);
    PrintUnusual(info);
    PrintTensors(info);
    return;
  }
  std::printf(", %s", Text(info["format"]).c_str());
  if (info.contains("architecture_name"))
    std::printf(", architecture %s", Text(info["architecture_name"]).c_str());
  std::printf("\n");
  if (info.contains("problem")) {
    Line("problem", "tern cannot run it: " + Text(info["problem"]));
    PrintTensors(info);
    return;
  }
  PrintArchitecture(info);
  PrintSizes(info);
  PrintTokenizer(info);
  PrintWeights(info);
  PrintUnusual(info);
  PrintTensors(info);
}

}  // namespace tern
