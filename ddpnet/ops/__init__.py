"""Every differentiable operation, one file a family, whose `__all__` lists its names in `torch`.

Importing this gives Tensor its methods.
"""

from ddpnet.ops import (
    activation,
    adaptive_pooling,
    arithmetic,
    average_pooling,
    bessel,
    bilinear_form,
    bitwise,
    buffers,
    choice,
    comparison,
    complex_parts,
    constructors,
    contraction,
    conversion,
    convolution,
    counting,
    creation,
    distance,
    division,
    drawing,
    dropouts,
    expansion,
    exponential,
    extremes,
    factorization,
    filling,
    flattening,
    in_place_functions,
    incomplete_gamma,
    indexing,
    inplace_views,
    interop,
    joining,
    layer_normalization,
    layout_creation,
    linalg,
    loss,
    matrices,
    memory,
    normal_functions,
    normalization,
    norms,
    padding,
    pooling,
    powers,
    pseudoinverse,
    quantiles,
    random_filling,
    rearrangement,
    reduction,
    replacement,
    rounding,
    scaled_products,
    scan,
    scatter_reduction,
    scattering,
    selection,
    sequences,
    shape,
    shuffling,
    smooth_activation,
    softmaxes,
    solving,
    sorting,
    special_functions,
    splitting,
    statistics,
    storages,
    striding,
    transposed_convolution,
    transposition,
    triangular,
    trigonometry,
    variance,
    vectors,
    view_copies,
)
from ddpnet.ops.activation import *
from ddpnet.ops.adaptive_pooling import *
from ddpnet.ops.arithmetic import *
from ddpnet.ops.average_pooling import *
from ddpnet.ops.bessel import *
from ddpnet.ops.bilinear_form import *
from ddpnet.ops.bitwise import *
from ddpnet.ops.buffers import *
from ddpnet.ops.choice import *
from ddpnet.ops.comparison import *
from ddpnet.ops.complex_parts import *
from ddpnet.ops.constructors import *
from ddpnet.ops.contraction import *
from ddpnet.ops.conversion import *
from ddpnet.ops.convolution import *
from ddpnet.ops.counting import *
from ddpnet.ops.creation import *
from ddpnet.ops.distance import *
from ddpnet.ops.division import *
from ddpnet.ops.drawing import *
from ddpnet.ops.dropouts import *
from ddpnet.ops.expansion import *
from ddpnet.ops.exponential import *
from ddpnet.ops.extremes import *
from ddpnet.ops.factorization import *
from ddpnet.ops.filling import *
from ddpnet.ops.flattening import *
from ddpnet.ops.in_place_functions import *
from ddpnet.ops.incomplete_gamma import *
from ddpnet.ops.indexing import *
from ddpnet.ops.inplace_views import *
from ddpnet.ops.interop import *
from ddpnet.ops.joining import *
from ddpnet.ops.layer_normalization import *
from ddpnet.ops.layout_creation import *
from ddpnet.ops.linalg import *
from ddpnet.ops.loss import *
from ddpnet.ops.matrices import *
from ddpnet.ops.memory import *
from ddpnet.ops.normal_functions import *
from ddpnet.ops.normalization import *
from ddpnet.ops.norms import *
from ddpnet.ops.padding import *
from ddpnet.ops.pooling import *
from ddpnet.ops.powers import *
from ddpnet.ops.pseudoinverse import *
from ddpnet.ops.quantiles import *
from ddpnet.ops.random_filling import *
from ddpnet.ops.rearrangement import *
from ddpnet.ops.reduction import *
from ddpnet.ops.replacement import *
from ddpnet.ops.rounding import *
from ddpnet.ops.scaled_products import *
from ddpnet.ops.scan import *
from ddpnet.ops.scatter_reduction import *
from ddpnet.ops.scattering import *
from ddpnet.ops.selection import *
from ddpnet.ops.sequences import *
from ddpnet.ops.shape import *
from ddpnet.ops.shuffling import *
from ddpnet.ops.smooth_activation import *
from ddpnet.ops.softmaxes import *
from ddpnet.ops.solving import *
from ddpnet.ops.sorting import *
from ddpnet.ops.special_functions import *
from ddpnet.ops.splitting import *
from ddpnet.ops.statistics import *
from ddpnet.ops.storages import *
from ddpnet.ops.striding import *
from ddpnet.ops.transposed_convolution import *
from ddpnet.ops.transposition import *
from ddpnet.ops.triangular import *
from ddpnet.ops.trigonometry import *
from ddpnet.ops.variance import *
from ddpnet.ops.vectors import *
from ddpnet.ops.view_copies import *

__all__: list[str] = []
__all__ += activation.__all__
__all__ += bilinear_form.__all__
__all__ += arithmetic.__all__
__all__ += bitwise.__all__
__all__ += choice.__all__
__all__ += replacement.__all__
__all__ += division.__all__
__all__ += exponential.__all__
__all__ += powers.__all__
__all__ += rounding.__all__
__all__ += special_functions.__all__
__all__ += trigonometry.__all__
__all__ += dropouts.__all__
__all__ += softmaxes.__all__
__all__ += smooth_activation.__all__
__all__ += comparison.__all__
__all__ += complex_parts.__all__
__all__ += bessel.__all__
__all__ += normal_functions.__all__
__all__ += incomplete_gamma.__all__
__all__ += in_place_functions.__all__
__all__ += conversion.__all__
__all__ += convolution.__all__
__all__ += transposed_convolution.__all__
__all__ += creation.__all__
__all__ += indexing.__all__
__all__ += linalg.__all__
__all__ += loss.__all__
__all__ += layer_normalization.__all__
__all__ += normalization.__all__
__all__ += padding.__all__
__all__ += pooling.__all__
__all__ += adaptive_pooling.__all__
__all__ += average_pooling.__all__
__all__ += extremes.__all__
__all__ += variance.__all__
__all__ += scan.__all__
__all__ += sorting.__all__
__all__ += counting.__all__
__all__ += norms.__all__
__all__ += triangular.__all__
__all__ += contraction.__all__
__all__ += distance.__all__
__all__ += vectors.__all__
__all__ += solving.__all__
__all__ += factorization.__all__
__all__ += matrices.__all__
__all__ += scaled_products.__all__
__all__ += quantiles.__all__
__all__ += pseudoinverse.__all__
__all__ += statistics.__all__
__all__ += reduction.__all__
__all__ += expansion.__all__
__all__ += joining.__all__
__all__ += rearrangement.__all__
__all__ += scattering.__all__
__all__ += scatter_reduction.__all__
__all__ += selection.__all__
__all__ += splitting.__all__
__all__ += striding.__all__
__all__ += transposition.__all__
__all__ += drawing.__all__
__all__ += filling.__all__
__all__ += sequences.__all__
__all__ += memory.__all__
__all__ += interop.__all__
__all__ += constructors.__all__
__all__ += buffers.__all__
__all__ += layout_creation.__all__
__all__ += random_filling.__all__
__all__ += flattening.__all__
__all__ += inplace_views.__all__
__all__ += view_copies.__all__
__all__ += storages.__all__
__all__ += shape.__all__
__all__ += shuffling.__all__

from ddpnet.ops import fusion, namespace  # noqa: E402, F401 - what is computed together; Tensor's array namespace
