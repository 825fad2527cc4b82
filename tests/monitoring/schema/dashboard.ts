// What a dashboard of ours is: Grafana's own types (@grafana/schema), with each panel's options and
// field configuration those of its panel type. A field that Grafana does not know is an error.

import type {
  Dashboard,
  DataQuery,
  FieldConfig,
  FieldConfigSource,
  LineStyle,
  Panel,
  RowPanel,
  TableCellOptions,
  ThresholdsConfig,
  ValueMapping,
  VariableModel,
} from "@grafana/schema";
import type {
  FieldConfig as TimelineField,
  Options as TimelineOptions,
} from "@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen";
import type { Options as StatOptions } from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type {
  FieldConfig as TableField,
  Options as TableOptions,
} from "@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen";
import type {
  FieldConfig as SeriesField,
  Options as SeriesOptions,
} from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

// A type as JSON has it: members of an enumeration are their values.
type Json<T> = 0 extends 1 & T
  ? T
  : T extends string
    ? `${T}`
    : T extends number
      ? `${T}` extends `${infer N extends number}`
        ? N
        : never
      : T extends boolean | null | undefined
        ? T
        : T extends ReadonlyArray<infer E>
          ? Json<E>[]
          : T extends object
            ? { [K in keyof T]: Json<T[K]> }
            : T;

// grafana/grafana: packages/grafana-prometheus/src/types.ts and dataquery.gen.ts
type Target = Json<Omit<DataQuery, "datasource">> & {
  datasource: { type: "prometheus"; uid: "${datasource}" };
  editorMode: "code" | "builder";
  expr: string;
  format: "time_series" | "table" | "heatmap";
  instant: boolean;
  range: boolean;
  legendFormat?: string;
};

type Property<Id extends string, Value> = { id: Id; value: Value };
type Override = {
  matcher: { id: "byName"; options: string };
  properties: (
    | Property<"color", Json<NonNullable<FieldConfig["color"]>>>
    | Property<"custom.cellOptions", Json<TableCellOptions>>
    | Property<"custom.lineStyle", Json<LineStyle>>
    | Property<"custom.width" | "decimals" | "max" | "min", number>
    | Property<"links", Link[]>
    | Property<"mappings", Json<ValueMapping>[]>
    | Property<"thresholds", Json<ThresholdsConfig>>
    | Property<"unit", string>
  )[];
};
type Link = { title: string; url: string; targetBlank: boolean };

// grafana/grafana: packages/grafana-data/src/transformations/transformers/
type Transformation =
  | { id: "merge"; options: Record<string, never> }
  | { id: "filterFieldsByName"; options: { include: { names: string[] } } }
  | {
      id: "organize";
      options: {
        excludeByName: Record<string, boolean>;
        indexByName: Record<string, number>;
        renameByName: Record<string, string>;
      };
    };

type Required_<T, K extends keyof T> = T & { [P in K]-?: NonNullable<T[P]> };
type Plotted<Type extends string, Options, Custom> = Omit<
  Required_<Json<Panel>, "datasource" | "description" | "gridPos" | "id" | "title">,
  "fieldConfig" | "options" | "targets" | "transformations" | "type"
> & {
  type: Type;
  options: Json<Options>;
  targets: Target[];
  transformations?: Transformation[];
  fieldConfig: Omit<Json<FieldConfigSource>, "defaults" | "overrides"> & {
    defaults: Omit<Json<FieldConfig>, "custom" | "unit"> & { unit: string; custom?: Json<Custom> };
    overrides: Override[];
  };
};

type AnyPanel =
  | Plotted<"stat", StatOptions, never>
  | Plotted<"state-timeline", TimelineOptions, TimelineField>
  | Plotted<"table", TableOptions, TableField>
  | Plotted<"timeseries", SeriesOptions, SeriesField>
  | Json<Omit<RowPanel, "type">> & { type: "row" };

export type RigDashboard = Omit<Json<Dashboard>, "panels" | "templating"> & {
  panels: AnyPanel[];
  templating: { list: Json<VariableModel>[] };
};
