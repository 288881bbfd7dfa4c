#include "kernels/dense_matmul.h"

#include <array>
#include <cstdint>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <unordered_map>

#include "kernels/dispatch.h"
#include "kernels/parallel.h"

namespace tern {
namespace {

using dnnl::memory;

// oneDNN picks its instruction set by itself; hold it to tern's cap. Takes effect only before its
// first primitive, which is why SetMaxTarget asks to be called before any kernel.
const dnnl::engine& CpuEngine() {
  static const dnnl::engine engine = [] {
    const std::string target = CurrentTarget();
    // A refusal leaves oneDNN at its own choice or at ONEDNN_MAX_CPU_ISA: both are no error.
    if (target == "sse4") dnnl_set_max_cpu_isa(dnnl_cpu_isa_sse41);
    if (target == "avx2") dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx2);
    return dnnl::engine(dnnl::engine::kind::cpu, 0);
  }();
  return engine;
}

struct ShapeKey {
  // type, transposes, beta and threads as bits; m, n, k and the three strides
  std::array<uint64_t, 7> words;
  friend bool operator==(const ShapeKey&, const ShapeKey&) = default;
};

struct ShapeHash {
  size_t operator()(const ShapeKey& key) const {
    uint64_t hash = 0;
    for (uint64_t word : key.words) hash = (hash ^ word) * 0x9E3779B97F4A7C15u + (hash >> 29);
    return static_cast<size_t>(hash);
  }
};

struct Prepared {
  dnnl::matmul primitive;
  memory a, b, c, scratch;
  std::unordered_map<int, memory> arguments;
};

memory::desc Describe(size_t rows, size_t cols, size_t stride, Transpose transpose,
                      memory::data_type type) {
  const auto step = static_cast<memory::dim>(stride);
  const memory::dims strides =
      transpose == Transpose::kYes ? memory::dims{1, step} : memory::dims{step, 1};
  return {{static_cast<memory::dim>(rows), static_cast<memory::dim>(cols)}, type, strides};
}

// Makes the primitive of one shape, with memory objects whose addresses Run sets.
template <class T>
Prepared Prepare(const MatView<const T>& a, Transpose ta, const MatView<const T>& b, Transpose tb,
                 float beta, const MatView<float>& c) {
  constexpr auto kType = sizeof(T) == 2 ? memory::data_type::bf16 : memory::data_type::f32;
  const size_t k = ta == Transpose::kYes ? a.rows : a.cols;
  const memory::desc a_desc = Describe(c.rows, k, a.stride, ta, kType);
  const memory::desc b_desc = Describe(k, c.cols, b.stride, tb, kType);
  const memory::desc c_desc =
      Describe(c.rows, c.cols, c.stride, Transpose::kNo, memory::data_type::f32);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (beta != 0.0f) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attributes.set_post_ops(sum);
  }
#if DNNL_VERSION_MAJOR >= 3
  const dnnl::matmul::primitive_desc description(CpuEngine(), a_desc, b_desc, c_desc, attributes);
#else
  const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(a_desc, b_desc, c_desc),
                                                 attributes, CpuEngine());
#endif
  Prepared prepared{dnnl::matmul(description),
                    memory(a_desc, CpuEngine(), nullptr),
                    memory(b_desc, CpuEngine(), nullptr),
                    memory(c_desc, CpuEngine(), nullptr),
                    memory(description.scratchpad_desc(), CpuEngine()),
                    {}};
  prepared.arguments = {{DNNL_ARG_SRC, prepared.a},
                        {DNNL_ARG_WEIGHTS, prepared.b},
                        {DNNL_ARG_DST, prepared.c},
                        {DNNL_ARG_SCRATCHPAD, prepared.scratch}};
  return prepared;
}

template <class T>
void Run(MatView<const T> a, Transpose ta, MatView<const T> b, Transpose tb, float beta,
         MatView<float> c) {
  const size_t m = ta == Transpose::kYes ? a.cols : a.rows;
  const size_t k = ta == Transpose::kYes ? a.rows : a.cols;
  const size_t n = tb == Transpose::kYes ? b.rows : b.cols;
  TERN_CHECK(k == (tb == Transpose::kYes ? b.cols : b.rows)) << "inner sizes differ: " << k;
  TERN_CHECK(c.rows == m && c.cols == n)
      << c.rows << "x" << c.cols << " instead of " << m << "x" << n;
  TERN_CHECK(beta == 0.0f || beta == 1.0f) << "beta " << beta;
  if (m == 0 || n == 0) return;
  TERN_CHECK(k > 0);

  // Per thread: oneDNN plans for the team it will run on, and memory objects carry the addresses.
  thread_local std::unordered_map<ShapeKey, Prepared, ShapeHash> cache;
  thread_local dnnl::stream stream(CpuEngine());
  const uint64_t threads = InParallelFor() ? 1 : static_cast<uint64_t>(ThreadCount());
  const uint64_t bits = (sizeof(T) == 2 ? 1u : 0u) | (ta == Transpose::kYes ? 2u : 0u) |
                        (tb == Transpose::kYes ? 4u : 0u) | (beta != 0.0f ? 8u : 0u) | threads << 4;
  const ShapeKey key{{bits, m, n, k, a.stride, b.stride, c.stride}};
  auto found = cache.find(key);
  if (found == cache.end()) found = cache.emplace(key, Prepare(a, ta, b, tb, beta, c)).first;
  Prepared& prepared = found->second;
  prepared.a.set_data_handle(const_cast<T*>(a.data));
  prepared.b.set_data_handle(const_cast<T*>(b.data));
  prepared.c.set_data_handle(c.data);
  prepared.primitive.execute(stream, prepared.arguments);
  stream.wait();
}

}  // namespace

bool HasBFloat16Matmul() {
  const std::string target = CurrentTarget();
  if (target != "avx512" && target != "avx512vnni") return false;
  CpuEngine();
  const auto isa = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  const auto wanted = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);
  return (isa & wanted) == wanted;
}

void DenseMatmul(MatView<const float> a, Transpose ta, MatView<const float> b, Transpose tb,
                 float beta, MatView<float> c) {
  Run(a, ta, b, tb, beta, c);
}

void DenseMatmul(MatView<const BFloat16> a, Transpose ta, MatView<const BFloat16> b, Transpose tb,
                 float beta, MatView<float> c) {
  Run(a, ta, b, tb, beta, c);
}

const char* DenseMatmulLibraryVersion() {
  static const std::string version = [] {
    const dnnl_version_t* v = dnnl_version();
    return std::to_string(v->major) + "." + std::to_string(v->minor) + "." +
           std::to_string(v->patch);
  }();
  return version.c_str();
}

std::string DenseMatmulIsa() {
  (void)CpuEngine();  // under the cap
  switch (dnnl_get_effective_cpu_isa()) {
    case dnnl_cpu_isa_sse41:
      return "sse41";
    case dnnl_cpu_isa_avx:
      return "avx";
    case dnnl_cpu_isa_avx2:
      return "avx2";
    case dnnl_cpu_isa_avx2_vnni:
      return "avx2_vnni";
    case dnnl_cpu_isa_avx512_core:
      return "avx512_core";
    case dnnl_cpu_isa_avx512_core_vnni:
      return "avx512_core_vnni";
    case dnnl_cpu_isa_avx512_core_bf16:
      return "avx512_core_bf16";
    case dnnl_cpu_isa_avx512_core_amx:
      return "avx512_core_amx";
    default:
      return "another";
  }
}

}  // namespace tern
