// The lower half of the simulated CUDA device: see simulated_cuda.py.
//
// A device guard, an allocator, pinned memory, a generator and the CUDA dispatch key of a torch that was built
// without CUDA. Every kernel is the CPU's, run on copies of its arguments. All is in order: a stream is a number, by
// which a graph knows what belongs to it.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/_local_scalar_dense.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/extension.h>

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <set>

namespace {

using at::Tensor;
const c10::Device DEVICE(c10::DeviceType::CUDA, 0);

// --- what is counted -------------------------------------------------------------------------------------------

std::mutex counted;
std::map<std::string, int64_t> launches;
std::atomic<bool> recording{false};
// Called with what (a transfer, or a wait), its bytes, and whether the host waits; never freed, as Python is by then.
py::object& on_traffic = *new py::object();
thread_local int unrecorded = 0;  // above 0: inside of what counts as one launch

struct Unrecorded {
  Unrecorded() { unrecorded++; }
  ~Unrecorded() { unrecorded--; }
};

// --- graphs: kernels written down on a stream, to be run again on the same memory --------------------------------

thread_local int64_t current_stream = 0;  // autograd's threads are on the one that the forward pass was on
std::vector<std::function<void()>>* graph = nullptr;  // that is being made; one at a time
std::atomic<int64_t> graph_stream{-1};
std::set<const void*> graph_memory;  // allocated since it was begun: nobody else reads it

bool is_capturing() { return graph_stream == current_stream && !unrecorded; }

void traffic(const std::string& what, int64_t bytes, bool waits) {
  TORCH_CHECK(
      !waits || !is_capturing(), "operation not permitted when stream is capturing (simulated): ", what);
  if (!recording || unrecorded) return;
  py::gil_scoped_acquire gil;
  on_traffic(what, bytes, waits);
}

void launch(const std::string& name) {
  if (!recording || unrecorded || is_capturing()) return;
  std::lock_guard<std::mutex> lock(counted);
  launches[name]++;
}

// --- memory ----------------------------------------------------------------------------------------------------

void* allocated(size_t bytes) {
  void* memory = nullptr;
  if (bytes && posix_memalign(&memory, 64, bytes)) throw std::bad_alloc();
  // What nobody wrote shows: 0x7f7f7f7f is a float of 3e38.
  if (bytes) memset(memory, 0x7f, std::min<size_t>(bytes, 65536));
  return memory;
}

struct DeviceAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    void* memory = allocated(bytes);
    if (graph_stream == current_stream) graph_memory.insert(memory);
    return {memory, memory, &free, DEVICE};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free; }
  void copy_data(void* to, const void* from, size_t bytes) const override { memcpy(to, from, bytes); }
};
DeviceAllocator device_allocator;

std::mutex pinning;
std::map<const char*, size_t> pinned;

struct PinnedAllocator final : c10::Allocator {
  static void release(void* memory) {
    std::lock_guard<std::mutex> lock(pinning);
    pinned.erase(static_cast<const char*>(memory));
    free(memory);
  }
  c10::DataPtr allocate(size_t bytes) override {
    void* memory = allocated(std::max<size_t>(bytes, 1));
    std::lock_guard<std::mutex> lock(pinning);
    pinned[static_cast<const char*>(memory)] = std::max<size_t>(bytes, 1);
    return {memory, memory, &release, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override { memcpy(to, from, bytes); }
};
PinnedAllocator pinned_allocator;

bool is_pinned(const void* memory) {
  std::lock_guard<std::mutex> lock(pinning);
  auto after = pinned.upper_bound(static_cast<const char*>(memory));
  if (after == pinned.begin()) return false;
  auto found = std::prev(after);
  return static_cast<const char*>(memory) < found->first + found->second;
}

// --- random numbers: the CPU's, of a generator that is on the device ---------------------------------------------

struct DeviceGenerator final : c10::GeneratorImpl {
  at::Generator drawing;
  explicit DeviceGenerator(at::Generator inner)
      : GeneratorImpl(DEVICE, c10::DispatchKeySet(c10::DispatchKey::CUDA)), drawing(std::move(inner)) {}
  void set_current_seed(uint64_t seed) override { drawing.set_current_seed(seed); }
  void set_offset(uint64_t offset) override { drawing.set_offset(offset); }
  uint64_t get_offset() const override { return drawing.get_offset(); }
  uint64_t current_seed() const override { return drawing.current_seed(); }
  uint64_t seed() override { return drawing.seed(); }
  // As with the real device, one kind of device does not take the other's: a byte more tells them apart.
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override {
    Tensor state = drawing.get_state();
    return at::cat({state, at::zeros({1}, state.options())}).getIntrusivePtr();
  }
  void set_state(const c10::TensorImpl& state) override {
    auto shared = c10::intrusive_ptr<c10::TensorImpl>::reclaim_copy(const_cast<c10::TensorImpl*>(&state));
    Tensor given(std::move(shared));
    TORCH_CHECK(given.numel() == drawing.get_state().numel() + 1, "RNG state is wrong size");
    drawing.set_state(given.slice(0, 0, given.numel() - 1).clone());
  }
  void graphsafe_set_state(const c10::intrusive_ptr<c10::GeneratorImpl>& state) override {
    drawing = static_cast<const DeviceGenerator&>(*state).drawing;
  }
  DeviceGenerator* clone_impl() const override { return new DeviceGenerator(drawing.clone()); }
};

at::Generator new_generator() {
  return at::make_generator<DeviceGenerator>(at::make_generator<at::CPUGeneratorImpl>());
}

// --- tensors ---------------------------------------------------------------------------------------------------

Tensor empty(at::IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
             std::optional<at::Device>, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  const c10::DispatchKeySet keys(c10::DispatchKey::CUDA);
  return at::detail::empty_generic(size, &device_allocator, keys, c10::dtype_or_default(dtype), format);
}

Tensor empty_strided(at::IntArrayRef size, at::IntArrayRef stride, std::optional<at::ScalarType> dtype,
                     std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>) {
  const c10::DispatchKeySet keys(c10::DispatchKey::CUDA);
  return at::detail::empty_strided_generic(size, stride, &device_allocator, keys, c10::dtype_or_default(dtype));
}

Tensor on_cpu(const Tensor& t) {
  if (!t.is_cuda()) return t;
  return at::from_blob(t.data_ptr(), t.sizes(), t.strides(), at::TensorOptions().dtype(t.dtype()).device(at::kCPU));
}

void copy_bytes(const Tensor& to, const Tensor& from) {
  at::NoGradGuard no_grad;
  at::AutoDispatchBelowADInplaceOrView below_autograd;
  on_cpu(to).copy_(on_cpu(from));
}

// Without its part in a backward pass, which a graph does not keep.
Tensor memory_of(const Tensor& t) {
  const auto version = t.is_inference() ? c10::VariableVersion() : c10::VariableVersion(0);
  return Tensor(t.unsafeGetTensorImpl()->shallow_copy_and_detach(version, true));
}

bool is_graphs(const Tensor& t) { return graph_memory.count(t.storage().data()); }

Tensor& copy_(Tensor& self, const Tensor& from, bool non_blocking) {
  if (self.is_cuda() && from.is_cuda()) {
    launch("aten::copy_");
  } else {
    const Tensor& host = self.is_cuda() ? from : self;
    const bool pageable = !is_pinned(host.storage().data());
    const std::string way = self.is_cuda() ? "to the device" : "to the host";
    traffic(way + (pageable ? ", pageable" : ", pinned"), from.numel() * from.element_size(), pageable || !non_blocking);
  }
  if (is_capturing()) {
    graph->push_back([to = memory_of(self), from = memory_of(from)] { copy_bytes(to, from); });
  }
  if (!is_capturing() || is_graphs(self)) copy_bytes(self, from);
  return self;
}

Tensor copy_from(const Tensor& self, const Tensor& to, bool) {
  copy_bytes(to, self);
  return to;
}

Tensor copy_from_and_resize(const Tensor& self, const Tensor& to) {
  if (to.sizes() != self.sizes()) to.resize_(self.sizes());
  copy_bytes(to, self);
  return to;
}

at::Scalar local_scalar_dense(const Tensor& t) {
  traffic("item", t.element_size(), true);
  return at::_local_scalar_dense(on_cpu(t));
}

const Tensor& resize_(const Tensor& self, at::IntArrayRef size, std::optional<at::MemoryFormat>) {
  int64_t elements = 1;
  for (auto length : size) elements *= length;
  const size_t bytes = (elements + self.storage_offset()) * self.element_size();
  if (bytes > self.storage().nbytes()) {
    auto storage = self.storage();
    auto memory = device_allocator.allocate(bytes);
    if (storage.nbytes()) memcpy(memory.get(), storage.data(), storage.nbytes());
    storage.set_data_ptr_noswap(std::move(memory));
    storage.set_nbytes(bytes);
  }
  self.unsafeGetTensorImpl()->set_sizes_contiguous(size);
  return self;
}

Tensor& set_source(Tensor& self, at::Storage storage, int64_t offset, at::IntArrayRef size, at::IntArrayRef stride) {
  auto* impl = self.unsafeGetTensorImpl();
  impl->set_storage_keep_dtype(std::move(storage));
  impl->set_storage_offset(offset);
  if (stride.size() == size.size() && !size.empty()) {
    impl->set_sizes_and_strides(size, stride);
  } else {
    impl->set_sizes_contiguous(size);
  }
  return self;
}

// --- every other kernel ------------------------------------------------------------------------------------------

const std::set<std::string> WAITING = {  // their result's shape, or LAPACK's, is known only when it is computed
    "aten::nonzero", "aten::_unique2", "aten::masked_select", "aten::linalg_svd", "aten::_linalg_svd", "aten::equal"};

struct Devices {
  bool host = false, device = false, mask = false;
  void see(const Tensor& t) {
    if (!t.defined()) return;
    if (t.is_cuda()) {
      device = true;
    } else if (t.dim() > 0) {  // a number goes to a kernel as its argument
      host = true;
    }
    mask |= t.scalar_type() == at::kBool;
  }
};

// Calls with each tensor of some values, lists' too.
template <typename F>
void each_tensor(const c10::IValue& value, F&& f) {
  if (value.isTensor()) {
    if (value.toTensor().defined()) f(value.toTensor());
  } else if (value.isTensorList()) {
    for (const Tensor& t : value.toTensorVector()) f(t);
  }
}

// A kernel of a graph. It is run, for the shapes of what it gives, but changes nothing that was there before.
void write_down(const c10::OperatorHandle& op, torch::jit::Stack* stack, size_t first) {
  torch::jit::Stack given(stack->begin() + first, stack->end());
  std::vector<std::pair<Tensor, Tensor>> before;
  std::vector<std::pair<at::Generator, Tensor>> draws;
  Unrecorded inside;
  for (size_t i = 0; i < given.size(); i++) {
    const auto* alias = op.schema().arguments()[i].alias_info();
    if (alias && alias->isWrite()) {
      each_tensor(given[i], [&](const Tensor& t) {
        if (!is_graphs(t)) before.emplace_back(t, on_cpu(t).clone());
      });
    }
    if (given[i].isTensor() && given[i].toTensor().defined()) {
      given[i] = memory_of(given[i].toTensor());
    } else if (given[i].isTensorList()) {
      c10::List<Tensor> plain;
      each_tensor(given[i], [&](const Tensor& t) { plain.push_back(memory_of(t)); });
      given[i] = plain;
    } else if (given[i].isOptionalTensorList()) {
      c10::List<std::optional<Tensor>> plain;
      for (const std::optional<Tensor>& t : given[i].toOptionalTensorList()) {
        plain.push_back(t && t->defined() ? std::optional<Tensor>(memory_of(*t)) : t);
      }
      given[i] = plain;
    } else if (given[i].isGenerator()) {
      draws.emplace_back(given[i].toGenerator(), given[i].toGenerator().get_state());
    }
  }
  at::native::cpu_fallback(op, stack, false);
  for (auto& [t, bytes] : before) copy_bytes(t, bytes);
  for (auto& [generator, state] : draws) generator.set_state(state);

  std::vector<Tensor> gave;
  for (size_t i = first; i < stack->size(); i++) {
    each_tensor((*stack)[i], [&](const Tensor& t) { gave.push_back(memory_of(t)); });
  }
  graph->push_back([op, given, gave] {
    at::NoGradGuard no_grad;
    at::AutoDispatchBelowADInplaceOrView below_autograd;
    torch::jit::Stack again = given;
    at::native::cpu_fallback(op, &again, false);
    size_t n = 0;
    for (const c10::IValue& value : again) {
      each_tensor(value, [&](const Tensor& t) {
        const Tensor& mine = gave[n++];
        if (mine.data_ptr() != t.data_ptr()) copy_bytes(mine, t);
      });
    }
  });
}

void kernel(const c10::OperatorHandle& op, c10::DispatchKeySet, torch::jit::Stack* stack) {
  const std::string name = op.schema().operator_name().name;
  const size_t first = stack->size() - op.schema().arguments().size();
  Devices found, indices;
  for (size_t i = first; i < stack->size(); i++) {
    at::IValue& value = (*stack)[i];
    if (value.isTensor()) {
      found.see(value.toTensor());
    } else if (value.isTensorList()) {
      for (const Tensor& t : value.toTensorList()) found.see(t);
    } else if (value.isOptionalTensorList()) {
      for (const std::optional<Tensor>& t : value.toOptionalTensorList()) {
        if (t) found.see(*t), indices.see(*t);
      }
    } else if (value.isGenerator()) {
      auto* generator = dynamic_cast<DeviceGenerator*>(value.toGenerator().unsafeGetGeneratorImpl());
      TORCH_CHECK(generator, "Expected a 'cuda' device type for generator but found 'cpu' (simulated): ", name);
      value = generator->drawing;
    }
  }
  TORCH_CHECK(
      !found.host || !found.device || indices.host,  // an index may be the host's: it is copied
      "Expected all tensors to be on the same device, but found cuda:0 and cpu (simulated): ", name);
  if (indices.host) traffic("to the device, pageable: an index", 0, true);
  if (WAITING.count(name) || (name == "aten::index" && indices.mask)) traffic(name, 0, true);
  launch(name);
  if (is_capturing()) return write_down(op, stack, first);
  Unrecorded inside;
  at::native::cpu_fallback(op, stack, false);
}

struct Guard final : c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::CUDA> {
  c10::Device exchangeDevice(c10::Device) const override { return DEVICE; }
  c10::Device getDevice() const override { return DEVICE; }
  c10::Stream getStream(c10::Device) const noexcept override {
    return c10::Stream(c10::Stream::UNSAFE, DEVICE, current_stream);
  }
  c10::Stream exchangeStream(c10::Stream stream) const noexcept override {
    const c10::Stream before = getStream(DEVICE);
    current_stream = stream.id();
    return before;
  }
  bool isStreamCapturing(const c10::Stream& stream) const override { return graph_stream == stream.id(); }
  void record(void**, const c10::Stream&, c10::DeviceIndex, c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
};
C10_REGISTER_GUARD_IMPL(CUDA, Guard);

}  // namespace

TORCH_LIBRARY_IMPL(_, CUDA, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&kernel>()); }

TORCH_LIBRARY_IMPL(aten, CUDA, m) {
  m.impl("empty.memory_format", empty);
  m.impl("empty_strided", empty_strided);
  m.impl("copy_", copy_);
  m.impl("_copy_from", copy_from);
  m.impl("_copy_from_and_resize", copy_from_and_resize);
  m.impl("_local_scalar_dense", local_scalar_dense);
  m.impl("resize_", resize_);
  m.impl("set_.source_Storage_storage_offset", set_source);
  m.impl("as_strided", at::native::as_strided_tensorimpl);
  m.impl("view", at::native::view);
  m.impl("_reshape_alias", at::native::_reshape_alias);
}

struct Hooks : at::CUDAHooksInterface {
  explicit Hooks(at::CUDAHooksArgs) {}
  void init() const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasCUDA() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex current_device() const override { return 0; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex) const override { return 0; }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex) const override { return 0; }
  void setCurrentDevice(c10::DeviceIndex) const override {}
  int getNumGPUs() const override { return 1; }
  bool isPinnedPtr(const void* memory) const override { return is_pinned(memory); }
  at::Allocator* getPinnedMemoryAllocator() const override { return &pinned_allocator; }
  at::Generator getNewGenerator(c10::DeviceIndex) const override { return new_generator(); }
  void deviceSynchronize(c10::DeviceIndex) const override {}
};
namespace at {
C10_REGISTER_CLASS(CUDAHooksRegistry, CUDAHooks, ::Hooks)
}

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  c10::SetAllocator(c10::DeviceType::CUDA, &device_allocator);
  m.def("start", [](py::object callback) {
    on_traffic = std::move(callback);
    launches.clear();
    recording = true;
  });
  m.def("stop", [] {
    recording = false;
    return launches;
  });
  m.def("waited", [](const std::string& what) { traffic(what, 0, true); });
  m.def("enter_one_launch", [](const std::string& name) {
    launch(name);
    unrecorded++;
  });
  m.def("leave_one_launch", [] { unrecorded--; });
  m.def("set_stream", [](int64_t stream) { current_stream = stream; });
  m.def("is_capturing", [] { return is_capturing(); });
  m.def("begin_graph", [] {
    graph = new std::vector<std::function<void()>>();  // never freed: it holds what Python made
    graph_memory.clear();
    graph_stream = current_stream;
  });
  m.def("end_graph", [] {
    graph_stream = -1;
    graph_memory.clear();
    return reinterpret_cast<uintptr_t>(graph);
  });
  m.def("write_down", [](py::function again) {
    graph->push_back([again] { again(); });
  });
  m.def("replay", [](uintptr_t made) {
    launch("graph");
    Unrecorded inside;
    for (auto& step : *reinterpret_cast<std::vector<std::function<void()>>*>(made)) step();
  });
}
