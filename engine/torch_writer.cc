#include "engine/torch_writer.h"

#include <zip.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <set>
#include <string_view>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "kernels/check.h"

namespace tern {
namespace {

std::string LittleEndian(uint64_t value, size_t bytes) {
  std::string text(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>(value >> (8 * i));
  return text;
}

// Opcodes of protocol 2; pickletools.dis of Python shows them.
std::string Text(std::string_view text) {  // BINUNICODE
  return "X" + LittleEndian(text.size(), 4) + std::string(text);
}
std::string Integer(uint64_t value) {  // BININT, LONG1
  return value <= INT32_MAX ? "J" + LittleEndian(value, 4)
                            : std::string("\x8a\x09", 2) + LittleEndian(value, 8) + '\0';
}
std::string Integers(const std::vector<size_t>& values) {  // MARK ... TUPLE
  std::string text = "(";
  for (const size_t value : values) text += Integer(value);
  return text + "t";
}
std::string Global(const char* module, const char* name) {
  return std::string("c") + module + "\n" + name + "\n";
}

// _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks), the storage by a
// persistent id that names its entry.
std::string Tensor(const TorchTensor& tensor, const std::string& key) {
  std::vector<size_t> strides(tensor.shape.size(), 1);
  for (size_t i = strides.size(); i-- > 1;) strides[i - 1] = strides[i] * tensor.shape[i];
  const std::string storage = "(" + Text("storage") + Global("torch", "BFloat16Storage") +
                              Text(key) + Text("cpu") + Integer(tensor.values.size()) + "tQ";
  return Global("torch._utils", "_rebuild_tensor_v2") + "(" + storage + Integer(0) +
         Integers(tensor.shape) + Integers(strides) + "\x89" +
         Global("collections", "OrderedDict") + ")RtR";
}

std::string DictOf(const std::vector<TorchTensor>& tensors) {
  std::string text = "\x80\x02}(";
  for (size_t i = 0; i < tensors.size(); ++i)
    text += Text(tensors[i].name) + Tensor(tensors[i], std::to_string(i));
  return text + "u.";
}

// An AtomicFile as minizip sees files. It goes back only to complete the header of an entry.
struct Sink {
  AtomicFile file;
  uint64_t at = 0;
  std::exception_ptr failure;  // minizip is C: it must not see exceptions

  static Sink& Of(voidpf opaque) { return *static_cast<Sink*>(opaque); }
  static voidpf Open(voidpf opaque, const void*, int) { return opaque; }
  static uLong Read(voidpf, voidpf, void*, uLong) { return 0; }
  static uLong Write(voidpf opaque, voidpf, const void* data, uLong size) {
    Sink& sink = Of(opaque);
    try {
      const auto old =
          std::min<uint64_t>(size, sink.file.bytes_written() - sink.at);  // overwritten
      if (old > 0) sink.file.WriteAt(sink.at, data, old);
      if (old < size) sink.file.Write(static_cast<const char*>(data) + old, size - old);
      sink.at += size;
      return size;
    } catch (...) {
      sink.failure = std::current_exception();
      return 0;
    }
  }
  static ZPOS64_T Tell(voidpf opaque, voidpf) { return Of(opaque).at; }
  static long Seek(voidpf opaque, voidpf, ZPOS64_T offset, int origin) {
    Sink& sink = Of(opaque);
    const uint64_t size = sink.file.bytes_written();
    const uint64_t from = origin == ZLIB_FILEFUNC_SEEK_SET   ? 0
                          : origin == ZLIB_FILEFUNC_SEEK_CUR ? sink.at
                                                             : size;
    if (offset > size - from) return -1;
    sink.at = from + offset;
    return 0;
  }
  static int Close(voidpf, voidpf) { return 0; }
  static int Failed(voidpf opaque, voidpf) { return Of(opaque).failure == nullptr ? 0 : 1; }
};

class Archive {
 public:
  explicit Archive(const std::string& path)
      : path_(path), folder_(std::filesystem::path(path).stem().string()), sink_{AtomicFile(path)} {
    zlib_filefunc64_def functions{Sink::Open, Sink::Read,  Sink::Write,  Sink::Tell,
                                  Sink::Seek, Sink::Close, Sink::Failed, &sink_};
    zip_ = zipOpen2_64(path.c_str(), APPEND_STATUS_CREATE, nullptr, &functions);
    Check(zip_ != nullptr);
  }
  Archive(const Archive&) = delete;
  Archive& operator=(const Archive&) = delete;
  ~Archive() {
    if (zip_ != nullptr) zipClose(zip_, nullptr);
  }

  void Add(const std::string& name, std::span<const std::byte> bytes) {
    constexpr size_t kZip64 = 0xffffffff, kAtATime = size_t{1} << 30;
    const zip_fileinfo no_date{};
    Check(zipOpenNewFileInZip64(zip_, (folder_ + "/" + name).c_str(), &no_date, nullptr, 0, nullptr,
                                0, nullptr, /*method=*/0, /*level=*/0,
                                bytes.size() >= kZip64) == ZIP_OK);
    for (size_t begin = 0; begin < bytes.size(); begin += kAtATime) {
      const size_t count = std::min(kAtATime, bytes.size() - begin);
      Check(zipWriteInFileInZip(zip_, bytes.data() + begin, static_cast<unsigned>(count)) ==
            ZIP_OK);
    }
    Check(zipCloseFileInZip(zip_) == ZIP_OK);
  }
  void Add(const std::string& name, std::string_view text) {
    Add(name, std::as_bytes(std::span(text)));
  }
  void Commit() {
    const zipFile zip = zip_;
    zip_ = nullptr;
    Check(zipClose(zip, nullptr) == ZIP_OK);
    sink_.file.Commit();
  }

 private:
  void Check(bool good) const {
    if (sink_.failure != nullptr) std::rethrow_exception(sink_.failure);
    if (!good) throw Error(Error::Kind::kInternal, path_ + ": the zip library cannot write it");
  }

  std::string path_, folder_;
  Sink sink_;
  zipFile zip_ = nullptr;
};

}  // namespace

void WriteTorchFile(const std::string& path, const std::vector<TorchTensor>& tensors) {
  std::set<std::string_view> names;
  for (const TorchTensor& tensor : tensors) {
    size_t values = 1;
    for (const size_t extent : tensor.shape) values *= extent;
    TERN_CHECK(values == tensor.values.size() && names.insert(tensor.name).second) << tensor.name;
  }
  Archive archive(path);
  archive.Add("data.pkl", DictOf(tensors));
  archive.Add("byteorder", "little");
  for (size_t i = 0; i < tensors.size(); ++i)
    archive.Add("data/" + std::to_string(i), std::as_bytes(tensors[i].values));
  archive.Add("version", "3\n");
  archive.Commit();
}

}  // namespace tern
